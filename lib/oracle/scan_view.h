// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Which elements of a scan's tensors belong to a sequence, a head and a token.
#ifndef HEED_LIB_ORACLE_SCAN_VIEW_H_
#define HEED_LIB_ORACLE_SCAN_VIEW_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "heed/linear.h"
#include "lib/oracle/element.h"

namespace heed::oracle {

// One sequence of a call, for one head of the state.
struct ScanView {
  const ScanParams& params;
  const ScanArgs& args;
  int64_t sequence = 0;
  int64_t head = 0;  // of the state

  int64_t state_heads() const {
    if (args.key.absent()) return args.initial_state.extent[1];
    return std::max(args.key.heads(), args.value.heads());
  }
  int64_t out_heads() const {
    return std::max(args.query.heads(), state_heads());
  }
  int64_t sequences() const {
    if (args.cu_seqlens != nullptr) return args.num_sequences;
    return args.key.absent() ? args.query.batch() : args.key.batch();
  }
  int64_t seqlen() const {
    return args.key.absent() ? args.query.seqlen() : args.key.seqlen();
  }
  int64_t batch() const { return args.cu_seqlens != nullptr ? 0 : sequence; }
  int64_t first() const {
    return args.cu_seqlens != nullptr ? args.cu_seqlens[sequence] : 0;
  }
  int64_t tokens() const {
    return args.cu_seqlens != nullptr
               ? args.cu_seqlens[sequence + 1] - args.cu_seqlens[sequence]
               : seqlen();
  }
  int64_t dim() const {
    return args.key.absent() ? args.query.head_dim() : args.key.head_dim();
  }
  int64_t dim_v() const {
    if (!args.out.absent()) return args.out.head_dim();
    return args.value.head_dim();
  }
  int64_t Fewer(int64_t h, int64_t heads, int64_t fewer) const {
    return params.head_map == HeadMap::kTiled ? h % fewer : h / (heads / fewer);
  }
  // Whether head h of out reads this state.
  bool Reads(int64_t h) const {
    return Fewer(h, out_heads(), state_heads()) == head;
  }
  double Scale() const {
    return params.scale != 0.0f ? static_cast<double>(params.scale)
                                : 1.0 / std::sqrt(static_cast<double>(dim()));
  }
  double Query(int64_t t, int64_t out_head, int64_t m) const {
    return ElementAt(args.query, batch(), first() + t,
                     Fewer(out_head, out_heads(), args.query.heads()), m);
  }
  double Key(int64_t t, int64_t m) const {
    return ElementAt(args.key, batch(), first() + t,
                     Fewer(head, state_heads(), args.key.heads()), m);
  }
  double Value(int64_t t, int64_t x) const {
    return ElementAt(args.value, batch(), first() + t,
                     Fewer(head, state_heads(), args.value.heads()), x);
  }
  double LogDecay(int64_t t, int64_t m) const {
    if (args.log_decay.absent()) return 0.0;
    const int64_t c = args.log_decay.head_dim() == 1 ? 0 : m;
    return ElementAt(args.log_decay, batch(), first() + t, head, c);
  }
  bool Erases() const {
    return !args.beta.absent() || !args.erase_key.absent() || Untied();
  }
  bool Untied() const { return !args.remove_key.absent(); }
  double Beta(int64_t t) const {
    return args.beta.absent()
               ? 1.0
               : ElementAt(args.beta, batch(), first() + t, head, 0);
  }
  double EraseKey(int64_t t, int64_t m) const {
    return args.erase_key.absent()
               ? Key(t, m)
               : ElementAt(args.erase_key, batch(), first() + t, head, m);
  }
  double RemoveKey(int64_t t, int64_t m) const {
    return args.remove_key.absent()
               ? Key(t, m)
               : ElementAt(args.remove_key, batch(), first() + t, head, m);
  }
  double InitialState(int64_t m, int64_t x) const {
    if (args.initial_state.absent()) return 0.0;
    return params.state_transposed
               ? ElementAt(args.initial_state, sequence, head, x, m)
               : ElementAt(args.initial_state, sequence, head, m, x);
  }
  double InitialSum(int64_t m) const {
    if (args.initial_sum.absent()) return 0.0;
    return ElementAt(args.initial_sum, sequence, 0, head, m);
  }
  // Where a row of the dense results of the oracles starts.
  int64_t OutRow(int64_t t, int64_t out_head) const {
    return ((batch() * seqlen() + first() + t) * out_heads() + out_head) *
           dim_v();
  }
};

// Calls f(view) for each sequence and head of the state.
template <class F>
void ForEachScan(const ScanParams& params, const ScanArgs& args, const F& f) {
  ScanView view{params, args};
  const int64_t sequences = view.sequences();
  const int64_t heads = view.state_heads();
  for (view.sequence = 0; view.sequence < sequences; ++view.sequence) {
    for (view.head = 0; view.head < heads; ++view.head) f(view);
  }
}

}  // namespace heed::oracle

#endif  // HEED_LIB_ORACLE_SCAN_VIEW_H_
