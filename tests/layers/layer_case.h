// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Layers to test, with their memory.
#ifndef HEED_TESTS_LAYERS_LAYER_CASE_H_
#define HEED_TESTS_LAYERS_LAYER_CASE_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "heed/layers.h"
#include "lib/oracle/multi_head.h"

namespace heed::test {

// Pages by a table, or by pointers.
enum class CacheKind { kNone, kContiguous, kPaged, kPointers };

struct LayerCase {
  MultiHeadParams params;
  int64_t batch = 1, seqlen_q = 17;
  int64_t seqlen_k = 0;  // of cross-attention; 0: self-attention
  bool bias = false;
  bool zero_queries = false;   // W_Q and b_Q are 0: keys are all alike
  bool whole_numbers = false;  // so, and weights are whole numbers
  bool own_value = false;      // values are made of rows of their own
  DType weight_dtype = DType::kF32;
  DType input_dtype = DType::kF32;
  DType out_dtype = DType::kF32;
  CacheKind cache = CacheKind::kNone;
  DType cache_dtype = DType::kF32;
  int64_t rotary_dim = 0;
  bool interleaved = false;

  int64_t keys() const { return seqlen_k == 0 ? seqlen_q : seqlen_k; }
  std::string Text() const;
};

// 64-byte aligned memory of exactly this size, filled with a byte.
class AlignedBytes {
 public:
  explicit AlignedBytes(size_t bytes, unsigned char fill = 0xff);
  void* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  std::unique_ptr<void, void (*)(void*)> data_;
  size_t size_;
};

// Numbers as floats, and as elements of a type that holds them exactly.
struct Elements {
  std::vector<float> f32;
  std::vector<uint16_t> bits;
  DType dtype = DType::kF32;

  // Rounds `numbers` to the type.
  Elements(std::vector<float> numbers, DType type);
  // [b, s, h, d], dense.
  ConstTensorView View(int64_t b, int64_t s, int64_t h, int64_t d) const;
};

// How a case is run.
struct LayerRun {
  std::string target;  // empty: the best
  int workers = 1;
  std::vector<int64_t> chunks;  // rows a call, with a cache; empty: all at once
  // Of queries and keys, for rope.
  int64_t first_position = 0;
};

class Layer {
 public:
  explicit Layer(const LayerCase& c, uint64_t seed = 1);

  const LayerCase& layer() const { return case_; }
  MultiHeadShape Shape() const;
  // All but out and caches.
  MultiHeadArgs Args() const;
  // Score inputs that every run and the truth are given.
  ScoreInputs scores;

  oracle::MultiHeadTruth Truth() const;
  // Runs and returns out as floats; fails the test where that is refused.
  std::vector<float> Run(const LayerRun& run) const;

  // [batch][rows][width], to be changed before the first run.
  Elements query, key, value;

 private:
  struct Packed {
    Elements weight;
    std::vector<float> bias;
    AlignedBytes memory;
    PackedLinear linear;
  };
  Packed Pack(int64_t out, int64_t in, uint64_t seed, bool zero) const;
  oracle::LinearTruth TruthOf(const Packed& packed) const;

  LayerCase case_;
  MultiHeadParams dims_;  // resolved
  Packed packed_[4];
  std::vector<float> cos_, sin_;
  std::vector<double> frequency_;
};

std::vector<float> Normal(int64_t count, uint64_t seed, float scale = 1.0f);

// The largest error, and the largest number of the truth.
double LargestError(const std::vector<float>& got,
                    const std::vector<double>& want);
double Largest(const std::vector<double>& numbers);

// Whether each number has the same bits.
::testing::AssertionResult SameBitsAs(const std::vector<float>& got,
                                      const std::vector<float>& want);

}  // namespace heed::test

#endif  // HEED_TESTS_LAYERS_LAYER_CASE_H_
