// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The tensors of a call, listed once.
#ifndef HEED_LIB_CORE_TENSORS_H_
#define HEED_LIB_CORE_TENSORS_H_

#include <cstdint>
#include <type_traits>

#include "heed/attention.h"

namespace heed::internal {

enum class TensorRole { kInput, kOutput };

// What a tensor is called, in static text.
struct TensorName {
  const char* argument;
  const char* overlaps;  // "overlaps <argument>"
  // The shape's field for its dtype, and that field's name; null for a tensor
  // that has none.
  DType AttentionShape::*dtype = nullptr;
  const char* dtype_field = nullptr;
  DType type = DType::kF32;  // without a field
  bool any_float = false;    // then: or one of 16 bits
  bool may_repeat = false;   // along its innermost axis too
};

inline constexpr TensorName kQueryName = {
    "query", "overlaps query", &AttentionShape::query_dtype, "query_dtype"};
inline constexpr TensorName kKeyName = {
    "key", "overlaps key", &AttentionShape::key_dtype, "key_dtype"};
inline constexpr TensorName kValueName = {
    "value", "overlaps value", &AttentionShape::value_dtype, "value_dtype"};
inline constexpr TensorName kKeyScaleName = {"key_scale", "overlaps key_scale"};
inline constexpr TensorName kKeyMinimumName = {"key_minimum",
                                               "overlaps key_minimum"};
inline constexpr TensorName kValueScaleName = {"value_scale",
                                               "overlaps value_scale"};
inline constexpr TensorName kValueMinimumName = {"value_minimum",
                                                 "overlaps value_minimum"};
inline constexpr TensorName kOutName = {
    "out", "overlaps out", &AttentionShape::out_dtype, "out_dtype"};
inline constexpr TensorName kLseName = {"lse", "overlaps lse"};

inline constexpr TensorName ScoreName(const char* argument,
                                      const char* overlaps,
                                      DType type = DType::kF32,
                                      bool any_float = false,
                                      bool may_repeat = false) {
  return {argument, overlaps, nullptr, nullptr, type, any_float, may_repeat};
}
inline constexpr TensorName kBiasName =
    ScoreName("bias", "overlaps bias", DType::kF32, true, true);
inline constexpr TensorName kMaskName =
    ScoreName("mask", "overlaps mask", DType::kBool, false, true);
inline constexpr TensorName kAlibiSlopesName =
    ScoreName("alibi_slopes", "overlaps alibi_slopes");
inline constexpr TensorName kRelativeBiasName =
    ScoreName("relative_bias", "overlaps relative_bias");
inline constexpr TensorName kQueryDecayName =
    ScoreName("query_decay", "overlaps query_decay");
inline constexpr TensorName kKeyDecayName =
    ScoreName("key_decay", "overlaps key_decay");
inline constexpr TensorName kSinkLogitsName =
    ScoreName("sink_logits", "overlaps sink_logits");
inline constexpr TensorName kPrefixLengthsName =
    ScoreName("prefix_lengths", "overlaps prefix_lengths", DType::kI32);
inline constexpr TensorName kRowLengthsName =
    ScoreName("row_lengths", "overlaps row_lengths", DType::kI32);
inline constexpr TensorName kQueryDocumentsName =
    ScoreName("query_documents", "overlaps query_documents", DType::kI32);
inline constexpr TensorName kKeyDocumentsName =
    ScoreName("key_documents", "overlaps key_documents", DType::kI32);
inline constexpr TensorName kTreeMaskName =
    ScoreName("tree_mask", "overlaps tree_mask", DType::kU64);

// The most tensors that a call has.
inline constexpr int kMostTensors = 21;

// The tensors of score inputs.
template <typename Scores, typename F>
void ForEachScoreTensor(Scores& scores, F f) {
  f(scores.bias, kBiasName, TensorRole::kInput);
  f(scores.mask, kMaskName, TensorRole::kInput);
  f(scores.alibi_slopes, kAlibiSlopesName, TensorRole::kInput);
  f(scores.relative_bias, kRelativeBiasName, TensorRole::kInput);
  f(scores.query_decay, kQueryDecayName, TensorRole::kInput);
  f(scores.key_decay, kKeyDecayName, TensorRole::kInput);
  f(scores.sink_logits, kSinkLogitsName, TensorRole::kInput);
  f(scores.prefix_lengths, kPrefixLengthsName, TensorRole::kInput);
  f(scores.row_lengths, kRowLengthsName, TensorRole::kInput);
  f(scores.query_documents, kQueryDocumentsName, TensorRole::kInput);
  f(scores.key_documents, kKeyDocumentsName, TensorRole::kInput);
  f(scores.tree_mask, kTreeMaskName, TensorRole::kInput);
}

// Calls f(view, name, role) for each tensor of `args`, inputs first, those that
// are absent too; score inputs only if `scores`. Args is AttentionArgs or const
// AttentionArgs; f takes the view as `auto&`, as inputs and outputs differ in
// type.
template <typename Args, typename F>
void ForEachTensor(Args& args, bool scores, F f) {
  f(args.query, kQueryName, TensorRole::kInput);
  f(args.key, kKeyName, TensorRole::kInput);
  f(args.value, kValueName, TensorRole::kInput);
  f(args.kv_scales.key_scale, kKeyScaleName, TensorRole::kInput);
  f(args.kv_scales.key_minimum, kKeyMinimumName, TensorRole::kInput);
  f(args.kv_scales.value_scale, kValueScaleName, TensorRole::kInput);
  f(args.kv_scales.value_minimum, kValueMinimumName, TensorRole::kInput);
  if (scores) ForEachScoreTensor(args.scores, f);
  f(args.out, kOutName, TensorRole::kOutput);
  f(args.lse, kLseName, TensorRole::kOutput);
}

// The same, for callers without a plan, which would know.
template <typename Args, typename F>
void ForEachTensor(Args& args, F f) {
  ForEachTensor(args, args.scores.any(), f);
}

// Keys or values with what quantised ones are multiplied by, and where their
// pages begin that have pointers.
struct ScaledRows {
  ConstTensorView rows, scale, minimum;
  void* const* row_pages = nullptr;
  void* const* scale_pages = nullptr;
  void* const* minimum_pages = nullptr;
};
inline ScaledRows KeysOf(const AttentionArgs& args) {
  return {args.key,
          args.kv_scales.key_scale,
          args.kv_scales.key_minimum,
          args.pages.key_pages,
          args.pages.key_scale_pages,
          args.pages.key_minimum_pages};
}
inline ScaledRows ValuesOf(const AttentionArgs& args) {
  return {args.value,
          args.kv_scales.value_scale,
          args.kv_scales.value_minimum,
          args.pages.value_pages,
          args.pages.value_scale_pages,
          args.pages.value_minimum_pages};
}

// Returns the view whose rows begin at column `first`: of 4-bit elements, where
// a group begins. Extents stay as they are.
template <typename View>
View FromColumn(View view, int64_t first) {
  using Byte =
      std::conditional_t<std::is_same_v<View, TensorView>, char, const char>;
  if (first != 0) {
    view.data = static_cast<Byte*>(view.data) + BytesOf(view.dtype, first);
  }
  return view;
}
inline ScaledRows FromColumn(const ScaledRows& rows, int64_t first) {
  if (first == 0) return rows;
  ScaledRows from = {FromColumn(rows.rows, first), rows.scale, rows.minimum};
  if (rows.rows.dtype == DType::kU4) {
    const int64_t groups =
        first / (rows.rows.head_dim() / rows.scale.head_dim());
    from.scale = FromColumn(rows.scale, groups);
    from.minimum = FromColumn(rows.minimum, groups);
  }
  return from;
}

// Returns the view with a stride of 0 wherever none is ever stepped: along
// extents up to 1, and everywhere in a tensor without elements. Such strides
// are not checked, and may be anything.
template <typename View>
View UsedStrides(View view) {
  bool empty = false;
  for (const int64_t extent : view.extent) empty |= extent == 0;
  for (int i = 0; i < 4; ++i) {
    if (empty || view.extent[i] <= 1) view.stride[i] = 0;
  }
  return view;
}

// Whether two views of the same extents are one: what may work in place.
inline bool SameView(const ConstTensorView& a, const ConstTensorView& b) {
  if (a.data != b.data || a.dtype != b.dtype) return false;
  for (int i = 0; i < 4; ++i) {
    if (a.extent[i] > 1 && a.stride[i] != b.stride[i]) return false;
  }
  return true;
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_TENSORS_H_
