// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The tensors of a scan, listed once.
#ifndef HEED_LIB_LINEAR_SCAN_TENSORS_H_
#define HEED_LIB_LINEAR_SCAN_TENSORS_H_

#include "heed/linear.h"
#include "lib/core/tensors.h"

namespace heed::internal {

// Of f32, bf16 or f16.
inline constexpr TensorName kScanQueryName =
    ScoreName("query", "overlaps query", DType::kF32, true);
inline constexpr TensorName kScanKeyName =
    ScoreName("key", "overlaps key", DType::kF32, true);
inline constexpr TensorName kScanValueName =
    ScoreName("value", "overlaps value", DType::kF32, true);
inline constexpr TensorName kScanOutName =
    ScoreName("out", "overlaps out", DType::kF32, true);
inline constexpr TensorName kLogDecayName = {"log_decay", "overlaps log_decay"};
inline constexpr TensorName kBetaName = {"beta", "overlaps beta"};
inline constexpr TensorName kEraseKeyName =
    ScoreName("erase_key", "overlaps erase_key", DType::kF32, true);
inline constexpr TensorName kRemoveKeyName =
    ScoreName("remove_key", "overlaps remove_key", DType::kF32, true);
inline constexpr TensorName kInitialStateName = {"initial_state",
                                                 "overlaps initial_state"};
inline constexpr TensorName kInitialSumName = {"initial_sum",
                                               "overlaps initial_sum"};
inline constexpr TensorName kFinalStateName = {"final_state",
                                               "overlaps final_state"};
inline constexpr TensorName kFinalSumName = {"final_sum", "overlaps final_sum"};
inline constexpr TensorName kCuSeqlensName = {"cu_seqlens",
                                              "overlaps cu_seqlens"};

// Calls f(view, name, role) for each tensor, inputs first, those that are
// absent too.
template <typename Args, typename F>
void ForEachScanTensor(Args& args, F f) {
  f(args.query, kScanQueryName, TensorRole::kInput);
  f(args.key, kScanKeyName, TensorRole::kInput);
  f(args.value, kScanValueName, TensorRole::kInput);
  f(args.log_decay, kLogDecayName, TensorRole::kInput);
  f(args.beta, kBetaName, TensorRole::kInput);
  f(args.erase_key, kEraseKeyName, TensorRole::kInput);
  f(args.remove_key, kRemoveKeyName, TensorRole::kInput);
  f(args.initial_state, kInitialStateName, TensorRole::kInput);
  f(args.initial_sum, kInitialSumName, TensorRole::kInput);
  f(args.out, kScanOutName, TensorRole::kOutput);
  f(args.final_state, kFinalStateName, TensorRole::kOutput);
  f(args.final_sum, kFinalSumName, TensorRole::kOutput);
}

}  // namespace heed::internal

#endif  // HEED_LIB_LINEAR_SCAN_TENSORS_H_
