// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/oracle/sequences.h"

#include <cstring>
#include <vector>

namespace heed::oracle {
namespace {

// The positions [first, first + count) of one batch.
template <typename View>
View Slice(View view, int64_t batch, int64_t first, int64_t count) {
  if (view.absent()) return view;
  if (view.data != nullptr)
    view.data = internal::BytesAt(view, batch, first, 0);
  view.extent[0] = 1;
  view.extent[1] = count;
  return view;
}

// The first `count` positions of sequence s of a pool, copied byte by byte into
// `memory`; or of its pages at `pointers`, or of its only page where there is
// neither table nor pointer.
ConstTensorView Gather(const ConstTensorView& pool, const Pages& pages,
                       void* const* pointers, int64_t s, int64_t count,
                       std::vector<char>* memory) {
  if (pool.absent()) return pool;
  const int64_t page_size = pool.seqlen();
  const int64_t row = BytesOf(pool.dtype, pool.head_dim());
  ConstTensorView view = pool;
  memory->assign(static_cast<size_t>(count * pool.heads() * row) + 1, 0);
  view.data = memory->data();
  view.extent[0] = 1;
  view.extent[1] = count;
  view.stride[0] = 0;
  view.stride[1] = pool.heads() * row;
  view.stride[2] = row;
  view.stride[3] = SizeOf(pool.dtype);
  if (row == 0) return view;  // no channels, and perhaps no memory
  for (int64_t position = 0; position < count; ++position) {
    const int64_t entry = s * pages.table_stride + position / page_size;
    ConstTensorView page = pool;
    if (pointers != nullptr) page.data = pointers[entry];
    const int64_t number =
        pages.page_table != nullptr ? pages.page_table[entry] : 0;
    for (int64_t h = 0; h < pool.heads(); ++h) {
      std::memcpy(memory->data() + (position * pool.heads() + h) * row,
                  internal::BytesAt(page, number, position % page_size, h),
                  static_cast<size_t>(row));
    }
  }
  return view;
}

int64_t OffsetOf(const AttentionParams& params, const Ragged& ragged,
                 int64_t s) {
  return ragged.causal_offset != nullptr ? ragged.causal_offset[s]
                                         : params.causal_offset;
}

// The score inputs of sequence s. Those of packed rows move with the query; the
// hook is told which sequence it is.
struct SequenceHook {
  ScoreHook hook;
  void* self;
  int64_t sequence;
  static void Call(void* self, const ScoreTile& tile) {
    const SequenceHook& own = *static_cast<SequenceHook*>(self);
    ScoreTile moved = tile;
    moved.batch = own.sequence;
    own.hook(own.self, moved);
  }
};

void SliceScores(int64_t s, int64_t batch, int64_t first, int64_t count,
                 ScoreInputs* scores) {
  for (ConstTensorView* view :
       {&scores->bias, &scores->mask, &scores->query_decay,
        &scores->row_lengths, &scores->query_documents, &scores->tree_mask}) {
    *view = Slice(*view, batch, first, count);
  }
  for (ConstTensorView* view :
       {&scores->alibi_slopes, &scores->relative_bias, &scores->key_decay,
        &scores->sink_logits, &scores->prefix_lengths,
        &scores->key_documents}) {
    *view = Slice(*view, s, 0, view->seqlen());
  }
}

void SliceRows(int64_t s, AttentionArgs* args) {
  const int32_t* cu = args->ragged.cu_seqlens_q;
  const int64_t batch = cu != nullptr ? 0 : s;
  const int64_t first = cu != nullptr ? cu[s] : 0;
  const int64_t count =
      cu != nullptr ? cu[s + 1] - cu[s] : args->query.seqlen();
  args->query = Slice(args->query, batch, first, count);
  SliceScores(s, batch, first, count, &args->scores);
  args->out = Slice(args->out, batch, first, count);
  args->lse = Slice(args->lse, batch, first, count);
}

// A tensor of keys and values, and where its pages begin that have pointers.
struct KeyTensor {
  ConstTensorView* view;
  void* const* pages;
};
std::vector<KeyTensor> KeyTensors(AttentionArgs* args) {
  KvScales& scales = args->kv_scales;
  const Pages& pages = args->pages;
  return {{&args->key, pages.key_pages},
          {&args->value, pages.value_pages},
          {&scales.key_scale, pages.key_scale_pages},
          {&scales.key_minimum, pages.key_minimum_pages},
          {&scales.value_scale, pages.value_scale_pages},
          {&scales.value_minimum, pages.value_minimum_pages}};
}

}  // namespace

void ForEachSequence(const AttentionParams& params, const AttentionArgs& args,
                     const DenseCall& f) {
  const Ragged& ragged = args.ragged;
  if (ragged.num_sequences == 0) return f(params, args);
  for (int64_t s = 0; s < ragged.num_sequences; ++s) {
    AttentionParams of_one = params;
    of_one.causal_offset = OffsetOf(params, ragged, s);
    AttentionArgs one = args;
    SliceRows(s, &one);
    SequenceHook hook = {args.scores.hook, args.scores.hook_self, s};
    if (hook.hook != nullptr) {
      one.scores.hook = &SequenceHook::Call;
      one.scores.hook_self = &hook;
    }
    std::vector<std::vector<char>> memory;
    memory.reserve(KeyTensors(&one).size());
    for (const auto& [view, pages] : KeyTensors(&one)) {
      const int32_t* cu = ragged.cu_seqlens_k;
      if (args.pages.any()) {
        memory.emplace_back();
        *view = Gather(*view, args.pages, pages, s, ragged.seqlens_k[s],
                       &memory.back());
      } else if (cu != nullptr) {
        *view = Slice(*view, 0, cu[s], cu[s + 1] - cu[s]);
      } else {
        *view = Slice(
            *view, s, 0,
            ragged.seqlens_k != nullptr ? ragged.seqlens_k[s] : view->seqlen());
      }
    }
    one.ragged = Ragged();
    one.pages = Pages();
    f(of_one, one);
  }
}

}  // namespace heed::oracle
