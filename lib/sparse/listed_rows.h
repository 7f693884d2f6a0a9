// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Where the rows of listed keys stand, as pages of one row: by number, where
// all of them lie evenly apart in memory, else by pointer. A number takes a
// fourth of the memory of two pointers, and is checked by itself. A list a row,
// 2,048 random ones of 8,192 keys, head_dim 64, AVX-512 of an Emerald Rapids: a
// key 84 to 92 ns by pointers, 70 to 75 by numbers; head_dim 128 131 to 160,
// 111 to 120.
#ifndef HEED_LIB_SPARSE_LISTED_ROWS_H_
#define HEED_LIB_SPARSE_LISTED_ROWS_H_

#include <algorithm>
#include <cstdint>

#include "heed/attention.h"
#include "heed/scratch.h"
#include "lib/core/tensors.h"

namespace heed::internal {

class ListedRows {
 public:
  // Of lists of one head at a time, or of several.
  ListedRows(const AttentionArgs& args, bool several_heads) : args_(args) {
    numbered_ = !args.pages.any() &&
                Number(args.key, several_heads, &key_number_) &&
                Number(args.value, several_heads, &value_number_) &&
                key_number_.of_token == value_number_.of_token &&
                key_number_.of_head == value_number_.of_head;
  }

  // Bytes of an entry.
  int64_t entry_bytes() const {
    return numbered_ ? sizeof(int32_t) : 2 * sizeof(void*);
  }
  bool Allocate(const Scratch& scratch, int64_t lists, int64_t width) {
    width_ = width;
    if (numbered_) {
      numbers_ = scratch.Array<int32_t>(lists, width);
      return numbers_ != nullptr;
    }
    keys_ = scratch.Array<void*>(lists, width);
    values_ = scratch.Array<void*>(lists, width);
    return keys_ != nullptr && values_ != nullptr;
  }

  // Sets entry i of a list.
  void Set(int64_t list, int64_t i, int64_t batch, int32_t key,
           int64_t head) const {
    const int64_t at = list * width_ + i;
    if (numbered_) {
      numbers_[at] = static_cast<int32_t>(key * key_number_.of_token +
                                          head * key_number_.of_head);
      return;
    }
    keys_[at] = RowOf(args_.key, args_.pages.key_pages, batch, key, head);
    values_[at] = RowOf(args_.value, args_.pages.value_pages, batch, key, head);
  }

  // Makes them the keys and values of a call with `count` lists of a batch,
  // which are of `head` where lists are of one head at a time.
  void PutInto(AttentionArgs* call, int64_t batch, int64_t head,
               int64_t count) const {
    Pages& pages = call->pages;
    pages.num_sequences = count;
    pages.pages_per_sequence = pages.table_stride = width_;
    if (numbered_) {
      pages.page_table = numbers_;
      call->key = NumberedView(args_.key, key_number_, batch, head);
      call->value = NumberedView(args_.value, value_number_, batch, head);
      return;
    }
    pages.key_pages = keys_;
    pages.value_pages = values_;
    call->key = PageOf(args_.key);
    call->value = PageOf(args_.value);
  }

 private:
  // Row `of_token * token + of_head * head` of all, `step` bytes apart.
  struct Numbering {
    int64_t of_token = 1, of_head = 0;
    int64_t rows = 0, step = 0;
  };

  static bool Number(const ConstTensorView& view, bool several_heads,
                     Numbering* number) {
    const int64_t token = view.stride[1], head = view.stride[2];
    number->step = token;
    if (several_heads && view.heads() > 1) {
      number->step = std::min(token, head);
      if (number->step <= 0 || token % number->step != 0 ||
          head % number->step != 0) {
        return false;
      }
      number->of_token = token / number->step;
      number->of_head = head / number->step;
    }
    int64_t tokens = 0, heads = 0;
    if (__builtin_mul_overflow(number->of_token,
                               std::max<int64_t>(view.seqlen() - 1, 0),
                               &tokens) ||
        __builtin_mul_overflow(
            number->of_head, std::max<int64_t>(view.heads() - 1, 0), &heads)) {
      return false;
    }
    number->rows = tokens + heads + 1;
    return view.seqlen() > 0 && tokens < INT32_MAX / 2 && heads < INT32_MAX / 2;
  }

  static ConstTensorView NumberedView(const ConstTensorView& view,
                                      const Numbering& number, int64_t batch,
                                      int64_t head) {
    ConstTensorView rows = view;
    rows.data = BytesAt(view, batch, 0, number.of_head > 0 ? 0 : head);
    rows.extent[0] = number.rows;
    rows.extent[1] = rows.extent[2] = 1;
    rows.stride[0] = number.step;
    return rows;
  }

  // One row of one head, wherever it stands.
  static ConstTensorView PageOf(const ConstTensorView& view) {
    ConstTensorView page = view;
    page.data = nullptr;
    page.extent[0] = page.extent[1] = page.extent[2] = 1;
    return page;
  }

  void* RowOf(const ConstTensorView& view, void* const* pages, int64_t batch,
              int64_t key, int64_t head) const {
    const Pages& in = args_.pages;
    if (!in.any()) return const_cast<char*>(BytesAt(view, batch, key, head));
    const int64_t size = args_.key.seqlen();
    const int64_t entry = batch * in.table_stride + key / size;
    if (!in.by_pointers()) {
      return const_cast<char*>(
          BytesAt(view, in.page_table[entry], key % size, head));
    }
    return static_cast<char*>(pages[entry]) + key % size * view.stride[1] +
           head * view.stride[2];
  }

  const AttentionArgs& args_;
  bool numbered_ = false;
  Numbering key_number_, value_number_;
  int64_t width_ = 0;
  int32_t* numbers_ = nullptr;  // [lists][width], or
  void** keys_ = nullptr;       // [lists][width]
  void** values_ = nullptr;
};

}  // namespace heed::internal

#endif  // HEED_LIB_SPARSE_LISTED_ROWS_H_
