// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Scans to test, with their memory.
#ifndef HEED_TESTS_LINEAR_SCAN_CASE_H_
#define HEED_TESTS_LINEAR_SCAN_CASE_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "heed/linear.h"
#include "tests/support/targets.h"

namespace heed::test {

enum class Decay { kNone, kScalar, kVector, kFixed };  // kFixed: per head
enum class Gates { kMild, kHarsh, kMixed };  // of mixed ones some are 0 or -inf

struct ScanCase {
  int64_t batch = 1, seqlen = 33;
  int64_t query_heads = 1, key_heads = 1, value_heads = 1;
  int64_t dim = 16, dim_v = 16;
  Decay decay = Decay::kNone;
  Gates gates = Gates::kMild;
  bool beta = false;
  bool erase_key = false, remove_key = false;
  bool unfaded = false;
  bool normalise = false;
  bool state = false;  // starts from one
  bool transposed = false;
  HeadMap head_map = HeadMap::kInterleaved;
  DType dtype = DType::kF32;
  std::vector<int32_t> cu_seqlens;  // else each batch is a sequence
  float scale = 0.0f;

  std::string Text() const;
  bool erases() const { return beta || erase_key || remove_key; }
  int64_t state_heads() const { return std::max(key_heads, value_heads); }
  int64_t heads() const { return std::max(query_heads, state_heads()); }
  int64_t sequences() const {
    return cu_seqlens.empty() ? batch
                              : static_cast<int64_t>(cu_seqlens.size()) - 1;
  }
};

// The tensors of a case, drawn from its seed: keys of unit length on average
// (with a delta rule exactly), those that only erase near them, queries and
// values of unit variance.
class ScanTensors {
 public:
  explicit ScanTensors(const ScanCase& c, uint64_t seed = 1);

  const ScanCase& scan() const { return case_; }
  ScanParams Params() const;
  // Out and the states are this object's.
  ScanArgs Args();

  std::vector<float> query, key, value, decay, beta, state, sum;
  std::vector<float> erase_key, remove_key;
  std::vector<float> out, final_state, final_sum;
  // Those of 16 bits, where the case has them.
  std::vector<uint16_t> query16, key16, value16, out16, erase16, remove16;

 private:
  ScanCase case_;
};

struct ScanConfig {
  std::string target;
  int chunk = 0;
  int workers = 1;
};

// Plans for exactly these extents and runs, in a workspace of NaNs.
Status RunScanOn(const ScanConfig& config, const ScanParams& params,
                 const ScanArgs& args);

// Every float is equal: NaN to NaN, and zeros whatever their sign.
::testing::AssertionResult SameNumbers(const std::vector<float>& got,
                                       const std::vector<float>& want);

// Root mean square of the difference over that of the truth.
double RelativeError(const std::vector<float>& got,
                     const std::vector<double>& want);

// Out, final state and final sum equal those of the other.
::testing::AssertionResult SameResults(const ScanTensors& got,
                                       const ScanTensors& want);

// The cases that most tests pass through: every feature, odd extents.
std::vector<ScanCase> ScanCases();

}  // namespace heed::test

#endif  // HEED_TESTS_LINEAR_SCAN_CASE_H_
