// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Sets of key intervals, row by row.
#include "lib/eval/selection.h"

#include <algorithm>
#include <atomic>
#include <cstddef>

#include "heed/ops.h"

namespace heed::eval {
namespace {

// Sorts, and joins intervals that overlap or touch. Empty ones vanish.
void Normalise(KeySet* keys) {
  std::sort(keys->begin(), keys->end(),
            [](const KeyInterval& a, const KeyInterval& b) {
              return a.begin < b.begin;
            });
  size_t count = 0;
  for (const KeyInterval& interval : *keys) {
    if (interval.begin >= interval.end) continue;
    if (count > 0 && interval.begin <= (*keys)[count - 1].end) {
      (*keys)[count - 1].end = std::max((*keys)[count - 1].end, interval.end);
    } else {
      (*keys)[count++] = interval;
    }
  }
  keys->resize(count);
}

KeySet Intersect(const KeySet& a, const KeySet& b) {
  KeySet both;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const int32_t begin = std::max(a[i].begin, b[j].begin);
    const int32_t end = std::min(a[i].end, b[j].end);
    if (begin < end) both.push_back({begin, end});
    a[i].end < b[j].end ? ++i : ++j;
  }
  return both;
}

int64_t CountKeys(const KeySet& keys) {
  int64_t count = 0;
  for (const KeyInterval& interval : keys) {
    count += interval.end - interval.begin;
  }
  return count;
}

}  // namespace

KeySet VisibleKeySet(const AttentionParams& params, int64_t seqlen_q,
                     int64_t seqlen_k, int64_t row) {
  const ops::VisibleKeys see = ops::VisibleTo(params, seqlen_q, seqlen_k, row);
  // Extents stay below 2^31, as the key positions of KeyIntervals do.
  const auto interval = [](int64_t begin, int64_t end) {
    return KeyInterval{static_cast<int32_t>(begin), static_cast<int32_t>(end)};
  };
  KeySet keys = {interval(0, see.sink_end), interval(see.begin, see.end)};
  Normalise(&keys);
  return keys;
}

double TotalVisiblePairs(const AttentionShape& shape,
                         const AttentionParams& params) {
  return ops::VisiblePairs(shape, params) *
         static_cast<double>(shape.batch * shape.num_heads);
}

Selection::Selection(const AttentionParams& params, const AttentionShape& shape)
    : params_(params), shape_(shape) {
  const size_t count =
      static_cast<size_t>(shape.batch * shape.num_heads * shape.seqlen_q);
  rows_.resize(count);
  refused_.resize(count);
}

SelectionRecorder Selection::Recorder() {
  return SelectionRecorder{this, &Selection::Keep};
}

void Selection::Keep(void* self, int64_t batch, int64_t head, int64_t query,
                     int64_t key_begin, int64_t key_end) {
  Selection& selection = *static_cast<Selection*>(self);
  const AttentionShape& shape = selection.shape_;
  if (batch < 0 || batch >= shape.batch || head < 0 ||
      head >= shape.num_heads || query < 0 || query >= shape.seqlen_q) {
    std::atomic_ref<bool>(selection.outside_).store(true);
    return;
  }
  const size_t row = selection.RowIndex(batch, head, query);
  if (key_begin < 0 || key_end > shape.seqlen_k || key_begin > key_end) {
    selection.refused_[row] = 1;
    return;
  }
  selection.rows_[row].push_back(
      {static_cast<int32_t>(key_begin), static_cast<int32_t>(key_end)});
}

std::string Selection::Finish() {
  if (outside_) return "the selection names rows outside the tensors";
  if (std::count(refused_.begin(), refused_.end(), 0) !=
      static_cast<std::ptrdiff_t>(refused_.size())) {
    return "the selection has intervals that run backwards or leave the keys";
  }
  for (int64_t query = 0; query < shape_.seqlen_q; ++query) {
    const KeySet visible =
        VisibleKeySet(params_, shape_.seqlen_q, shape_.seqlen_k, query);
    for (int64_t batch = 0; batch < shape_.batch; ++batch) {
      for (int64_t head = 0; head < shape_.num_heads; ++head) {
        KeySet& row = rows_[RowIndex(batch, head, query)];
        Normalise(&row);
        row = Intersect(row, visible);
      }
    }
  }
  return "";
}

double Selection::KeptPairs() const {
  double kept = 0;
  for (const KeySet& row : rows_) kept += static_cast<double>(CountKeys(row));
  return kept;
}

double Selection::Density() const {
  const double visible = TotalVisiblePairs(shape_, params_);
  return visible == 0 ? 1.0 : KeptPairs() / visible;
}

std::vector<double> Selection::HeadDensities() const {
  const double visible =
      ops::VisiblePairs(shape_, params_) * static_cast<double>(shape_.batch);
  std::vector<double> densities(static_cast<size_t>(shape_.num_heads));
  for (size_t head = 0; head < densities.size(); ++head) {
    double kept = 0;
    for (int64_t b = 0; b < shape_.batch; ++b) {
      for (int64_t row = 0; row < shape_.seqlen_q; ++row) {
        kept += static_cast<double>(
            CountKeys(Row(b, static_cast<int64_t>(head), row)));
      }
    }
    densities[head] = visible == 0 ? 1.0 : kept / visible;
  }
  return densities;
}

double Selection::TouchedKeys() const {
  if (shape_.num_kv_heads == 0) return 0;
  const int64_t group = shape_.num_heads / shape_.num_kv_heads;
  double touched = 0;
  for (int64_t i = 0; i < shape_.batch * shape_.num_kv_heads; ++i) {
    const int64_t batch = i / shape_.num_kv_heads;
    const int64_t head = i % shape_.num_kv_heads * group;
    // How many more rows keep a key than the key before it.
    std::vector<int64_t> step(static_cast<size_t>(shape_.seqlen_k) + 1);
    for (int64_t row = 0; row < group * shape_.seqlen_q; ++row) {
      for (const KeyInterval& keys :
           Row(batch, head + row / shape_.seqlen_q, row % shape_.seqlen_q)) {
        ++step[static_cast<size_t>(keys.begin)];
        --step[static_cast<size_t>(keys.end)];
      }
    }
    int64_t keeping = 0;
    for (const int64_t change : step) {
      keeping += change;
      touched += keeping > 0;
    }
  }
  return touched;
}

SelectionMask::SelectionMask(const Selection& selection,
                             const AttentionShape& shape, int64_t first,
                             int64_t count) {
  offsets_.push_back(0);
  for (int64_t batch = 0; batch < shape.batch; ++batch) {
    for (int64_t head = 0; head < shape.num_heads; ++head) {
      for (int64_t query = first; query < first + count; ++query) {
        const KeySet& row = selection.Row(batch, head, query);
        intervals_.insert(intervals_.end(), row.begin(), row.end());
        offsets_.push_back(static_cast<int64_t>(intervals_.size()));
      }
    }
  }
}

KeyIntervals SelectionMask::View() const {
  KeyIntervals view;
  view.query_block_size = 1;
  view.num_offsets = static_cast<int64_t>(offsets_.size());
  view.num_intervals = static_cast<int64_t>(intervals_.size());
  view.offsets = offsets_.data();
  view.intervals = intervals_.data();
  return view;
}

}  // namespace heed::eval
