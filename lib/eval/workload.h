// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Deterministic tensors for tests, benchmarks and the tool: the same numbers on
// every platform, whatever the layout in memory.
#ifndef HEED_LIB_EVAL_WORKLOAD_H_
#define HEED_LIB_EVAL_WORKLOAD_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "heed/attention.h"
#include "lib/io/problem.h"

namespace heed::eval {

// How numbers are drawn. An element depends on the seed, the tensor and its
// (batch, position, head, channel) alone, not on the extents: a longer sequence
// starts with the shorter one's numbers.
enum class Fill {
  kNormal,   // mean 0, variance 1, within +-3.5
  kInteger,  // whole numbers in [-4, 4]: scores are exact
  kSpread,   // normal, q and k times 8: most weights vanish
  kOneHot,   // normal, q and k times 32: one key takes a row's whole weight
  kGrowing,  // every block of 64 keys raises the maximum of every row
  kEqual,    // all keys of a head are equal: every weight is the same
};

// Where elements stand in memory.
enum class Layout {
  kBshd,    // dense [batch][seqlen][heads][head_dim]
  kBhsd,    // dense [batch][heads][seqlen][head_dim]
  kPacked,  // query, key and value, of one dtype, as slices of one row a
            // position (key and value only, where seqlen_q and seqlen_k differ)
  kPadded,  // bshd with unused elements behind every row, position and batch
};

struct WorkloadOptions {
  Fill fill = Fill::kNormal;
  Layout layout = Layout::kBshd;
  uint64_t seed = 1;
  int misalign =
      0;  // elements past a 64-byte boundary where each tensor begins
  int scale_group = 64;  // of 4-bit elements; 32 where it does not divide
};

// Unused elements of every buffer hold this NaN, or half of it, which is a NaN
// in bf16 and in f16: reading one shows in the result, writing one is found by
// PaddingIntact.
inline constexpr uint32_t kSentinelBits = 0x7fc57fc5u;

// A strided tensor and (a share of) its memory. Copies share memory.
struct Tensor {
  std::shared_ptr<std::vector<float>>
      memory;  // so many elements of other types as fit a float
  TensorView view;

  // Element (batch, position, head, channel) of an f32 tensor.
  float* At(int64_t b, int64_t s, int64_t h, int64_t c = 0) const;
  // The elements as numbers, [batch][seqlen][heads][head_dim].
  std::vector<float> Dense() const;
  // Sets all memory, within the view and without.
  void FillAll(uint32_t bits) const;
  // True where all memory outside the view still holds kSentinelBits. Not for
  // tensors that share memory.
  bool PaddingIntact() const;
};

// The tensors of one problem. lse always exists; leave it out of Args() by
// resetting the view.
struct Tensors {
  io::Problem problem;
  Tensor query, key, value, out, lse;
  // What quantised keys and values are multiplied by; absent elsewhere.
  Tensor key_scale, key_minimum, value_scale, value_minimum;

  AttentionArgs Args() const;
  // Sets all of out and lse, elements and padding, to the sentinel.
  void ClearOutput() const;
};

// Makes a tensor of these extents, all sentinel.
Tensor MakeTensor(int64_t batch, int64_t seqlen, int64_t heads,
                  int64_t head_dim, Layout layout, int misalign = 0,
                  DType dtype = DType::kF32);

// Makes the tensors of a problem: inputs drawn, outputs all sentinel. A number
// is drawn as f32 and rounded to the nearest, even one of the tensor's dtype;
// quantised ones with scales that are drawn too, whatever the numbers.
Tensors MakeTensors(const io::Problem& problem, const WorkloadOptions& options);

// Draws an input again in place; `which` is 0 for query, 1 for key, 2 for
// value.
void FillTensor(const Tensor& tensor, int which, Fill fill, uint64_t seed);

// Random 64-bit numbers, splitmix64 (Steele, Lea, Flood 2014): the same on
// every platform. For choices inside tests.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next();
  // In [0, bound), bound at least 1.
  int64_t Below(int64_t bound);

 private:
  uint64_t state_;
};

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_WORKLOAD_H_
