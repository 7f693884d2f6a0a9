// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Score inputs for the oracles, pair by pair, by the text of
// heed/score_inputs.h. Calls are dense: sequences.h makes them so.
#ifndef HEED_LIB_ORACLE_SCORES_H_
#define HEED_LIB_ORACLE_SCORES_H_

#include <cmath>
#include <cstdint>

#include "heed/attention.h"
#include "lib/oracle/element.h"

namespace heed::oracle {

// The position of a row, as near as 64 bits come.
int64_t PositionOf(const AttentionParams& params, const AttentionArgs& args,
                   int64_t row);

// Whether a mask of the score inputs, or what is added, hides the pair.
bool HiddenByScores(const AttentionParams& params, const AttentionArgs& args,
                    int64_t b, int64_t h, int64_t row, int64_t key);

// bias + relative_bias + (query_decay - key_decay), in T, in this order.
template <typename T>
T Addend(const AttentionParams& params, const AttentionArgs& args, int64_t b,
         int64_t h, int64_t row, int64_t key) {
  const ScoreInputs& s = args.scores;
  T addend = 0;
  if (!s.bias.absent()) {
    addend = static_cast<T>(ElementAt(s.bias, b, row, h, key));
  }
  if (!s.relative_bias.absent()) {
    const __int128 reach = (s.relative_bias.head_dim() - 1) / 2;
    __int128 distance =
        static_cast<__int128>(key) - PositionOf(params, args, row);
    if (distance < -reach) distance = -reach;
    if (distance > reach) distance = reach;
    addend += static_cast<T>(ElementAt(s.relative_bias, b, 0, h,
                                       static_cast<int64_t>(reach + distance)));
  }
  if (!s.query_decay.absent()) {
    addend += static_cast<T>(ElementAt(s.query_decay, b, row, h, 0)) -
              static_cast<T>(ElementAt(s.key_decay, b, key, h, 0));
  }
  return addend;
}

// The same, less alibi_slope * |p - j|: rounded once in T.
template <typename T>
T WholeAddend(const AttentionParams& params, const AttentionArgs& args,
              int64_t b, int64_t h, int64_t row, int64_t key) {
  const T addend = Addend<T>(params, args, b, h, row, key);
  if (args.scores.alibi_slopes.absent()) return addend;
  const T slope =
      static_cast<T>(ElementAt(args.scores.alibi_slopes, b, 0, h, 0));
  const T distance = std::fabs(static_cast<T>(PositionOf(params, args, row)) -
                               static_cast<T>(key));
  return std::fma(-slope, distance, addend);
}

// The score, in natural units, after the hook, if there is one.
float Hooked(const AttentionArgs& args, int64_t b, int64_t h, int64_t row,
             int64_t key, float score);

}  // namespace heed::oracle

#endif  // HEED_LIB_ORACLE_SCORES_H_
