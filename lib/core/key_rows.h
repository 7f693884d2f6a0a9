// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Where the rows of keys and values stand: the only place that knows.
#ifndef HEED_LIB_CORE_KEY_ROWS_H_
#define HEED_LIB_CORE_KEY_ROWS_H_

#include <cstdint>

#include "heed/attention.h"
#include "lib/core/work.h"

namespace heed::internal {

// The rows of one (batch, key head).
class KeyRows {
 public:
  KeyRows(const AttentionArgs& args, const WorkItem& item)
      : key_(BytesAt(args.key, item.batch, 0, item.kv_head)),
        value_(BytesAt(args.value, item.batch, 0, item.kv_head)),
        key_step_(args.key.stride[1]),
        value_step_(args.value.stride[1]) {}

  // Writes where the rows of positions [begin, end) stand.
  void Fill(int32_t begin, int32_t end, const void** key,
            const void** value) const {
    const char* k = key_ + begin * key_step_;
    const char* v = value_ + begin * value_step_;
    for (int32_t i = 0; i < end - begin; ++i) {
      key[i] = k;
      value[i] = v;
      k += key_step_;
      v += value_step_;
    }
  }

  // Bytes from one position to the next.
  int64_t key_step() const { return key_step_; }
  int64_t value_step() const { return value_step_; }

 private:
  const char* key_;
  const char* value_;
  int64_t key_step_;
  int64_t value_step_;
};

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_KEY_ROWS_H_
