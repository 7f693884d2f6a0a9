// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/linear/scan_case.h"

#include <cmath>
#include <random>

#include "lib/oracle/element.h"
#include "tests/support/run.h"
#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

size_t Count(int64_t a, int64_t b, int64_t c, int64_t d) {
  return static_cast<size_t>(a * b * c * d);
}

void Draw(std::mt19937_64& random, float sigma, std::vector<float>* to) {
  std::normal_distribution<float> normal(0.0f, sigma);
  for (float& x : *to) x = normal(random);
}

float DrawGate(std::mt19937_64& random, Gates gates) {
  const float u = std::uniform_real_distribution<float>(0.0f, 1.0f)(random);
  if (gates == Gates::kMild) return -0.2f * u;
  if (gates == Gates::kHarsh) return -60.0f * u;
  const uint64_t kind = random() % 8;
  if (kind == 0) return -INFINITY;
  if (kind < 3) return 0.0f;
  if (kind == 3) return -50.0f;
  return -u;
}

// Brings rows of `dim` numbers to unit length.
void UnitRows(size_t dim, std::vector<float>* x) {
  for (size_t i = 0; i < x->size(); i += dim) {
    float square = 0;
    for (size_t m = 0; m < dim; ++m) square += (*x)[i + m] * (*x)[i + m];
    for (size_t m = 0; m < dim; ++m) (*x)[i + m] /= std::sqrt(square);
  }
}

// Keys of the state's heads that are near those that write.
std::vector<float> KeysNear(const ScanCase& c, const std::vector<float>& key,
                            std::mt19937_64& random) {
  std::vector<float> near(Count(c.batch, c.seqlen, c.state_heads(), c.dim));
  Draw(random, 0.5f / std::sqrt(static_cast<float>(c.dim)), &near);
  const size_t tokens = Count(c.batch, c.seqlen, 1, 1);
  const size_t dim = static_cast<size_t>(c.dim);
  const size_t row = static_cast<size_t>(c.state_heads()) * dim;
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t m = 0; m < row; ++m) {
      const size_t head = m / dim % static_cast<size_t>(c.key_heads);
      near[t * row + m] +=
          key[(t * static_cast<size_t>(c.key_heads) + head) * dim + m % dim];
    }
  }
  UnitRows(dim, &near);
  return near;
}

// Rounds to 16 bits, and keeps both.
void Round(DType dtype, std::vector<float>* x, std::vector<uint16_t>* to) {
  to->resize(x->size());
  for (size_t i = 0; i < x->size(); ++i) {
    (*to)[i] = dtype == DType::kBF16 ? oracle::RoundToBF16((*x)[i]).bits
                                     : oracle::RoundToF16((*x)[i]).bits;
    (*x)[i] = oracle::RoundTo(dtype, (*x)[i]);
  }
}

template <class Float>
auto View(const ScanCase& c, Float* f32, void* bits16, int64_t heads,
          int64_t dim) {
  auto view = Bshd(f32, c.batch, c.seqlen, heads, dim);
  if (c.dtype != DType::kF32) {
    view.data = bits16;
    view.dtype = c.dtype;
    for (int64_t& stride : view.stride) stride /= 2;
  }
  return view;
}

}  // namespace

std::string ScanCase::Text() const {
  std::string text =
      "b" + std::to_string(batch) + "_n" + std::to_string(seqlen) + "_h" +
      std::to_string(query_heads) + "_" + std::to_string(key_heads) + "_" +
      std::to_string(value_heads) + "_d" + std::to_string(dim) + "_" +
      std::to_string(dim_v);
  const char* const decays[] = {"", "_scalar", "_vector", "_fixed"};
  const char* const kinds[] = {"", "_harsh", "_mixed"};
  text += decays[static_cast<int>(decay)];
  text += kinds[static_cast<int>(gates)];
  if (beta) text += "_beta";
  if (erase_key) text += "_erase";
  if (remove_key) text += "_remove";
  if (unfaded) text += "_unfaded";
  if (normalise) text += "_norm";
  if (state) text += "_state";
  if (transposed) text += "_turned";
  if (head_map == HeadMap::kTiled) text += "_tiled";
  if (dtype != DType::kF32) text += dtype == DType::kBF16 ? "_bf16" : "_f16";
  if (!cu_seqlens.empty()) text += "_ragged";
  return text;
}

ScanTensors::ScanTensors(const ScanCase& c, uint64_t seed) : case_(c) {
  std::mt19937_64 random(seed);
  query.resize(Count(c.batch, c.seqlen, c.query_heads, c.dim));
  key.resize(Count(c.batch, c.seqlen, c.key_heads, c.dim));
  value.resize(Count(c.batch, c.seqlen, c.value_heads, c.dim_v));
  out.assign(Count(c.batch, c.seqlen, c.heads(), c.dim_v), -77.0f);
  Draw(random, 1.0f, &query);
  Draw(random, 1.0f / std::sqrt(static_cast<float>(c.dim)), &key);
  Draw(random, 1.0f, &value);
  if (c.normalise) {
    for (float& x : query) x = std::fabs(x);
    for (float& x : key) x = std::fabs(x);
  }
  if (c.erases()) UnitRows(static_cast<size_t>(c.dim), &key);
  const int64_t states = c.state_heads();
  if (c.decay != Decay::kNone) {
    const bool fixed = c.decay == Decay::kFixed;
    decay.resize(Count(fixed ? 1 : c.batch, fixed ? 1 : c.seqlen, states,
                       c.decay == Decay::kVector ? c.dim : 1));
    for (float& g : decay) g = DrawGate(random, c.gates);
  }
  if (c.beta) {
    beta.resize(Count(c.batch, c.seqlen, states, 1));
    for (float& b : beta) {
      b = std::uniform_real_distribution<float>(0.0f, 1.0f)(random);
    }
  }
  state.resize(Count(c.sequences(), states, c.dim, c.dim_v));
  sum.resize(Count(c.sequences(), states, c.dim, 1));
  Draw(random, 1.0f, &state);
  Draw(random, 1.0f, &sum);
  for (float& x : sum) x = std::fabs(x);
  if (c.erase_key) erase_key = KeysNear(c, key, random);
  if (c.remove_key) remove_key = KeysNear(c, key, random);
  final_state.assign(state.size(), -77.0f);
  final_sum.assign(sum.size(), -77.0f);
  if (c.dtype != DType::kF32) {
    Round(c.dtype, &query, &query16);
    Round(c.dtype, &key, &key16);
    Round(c.dtype, &value, &value16);
    Round(c.dtype, &erase_key, &erase16);
    Round(c.dtype, &remove_key, &remove16);
    out16.assign(out.size(), 0x4242);
  }
}

ScanParams ScanTensors::Params() const {
  ScanParams params;
  params.scale = case_.scale;
  params.normalise = case_.normalise;
  params.head_map = case_.head_map;
  params.erase_unfaded = case_.unfaded;
  params.state_transposed = case_.transposed;
  return params;
}

ScanArgs ScanTensors::Args() {
  const ScanCase& c = case_;
  const int64_t states = c.state_heads();
  ScanArgs args;
  args.query = View(c, static_cast<const float*>(query.data()), query16.data(),
                    c.query_heads, c.dim);
  args.key = View(c, static_cast<const float*>(key.data()), key16.data(),
                  c.key_heads, c.dim);
  args.value = View(c, static_cast<const float*>(value.data()), value16.data(),
                    c.value_heads, c.dim_v);
  args.out = View(c, out.data(), out16.data(), c.heads(), c.dim_v);
  const float* gates = decay.data();
  const int64_t decay_dim = c.decay == Decay::kVector ? c.dim : 1;
  if (c.decay == Decay::kFixed) {
    args.log_decay = Strided(gates, c.batch, c.seqlen, states, 1, 0, 0, 1);
  } else if (c.decay != Decay::kNone) {
    args.log_decay = Bshd(gates, c.batch, c.seqlen, states, decay_dim);
  }
  if (c.beta) {
    args.beta = Bshd(static_cast<const float*>(beta.data()), c.batch, c.seqlen,
                     states, 1);
  }
  if (c.erase_key) {
    args.erase_key = View(c, static_cast<const float*>(erase_key.data()),
                          erase16.data(), states, c.dim);
  }
  if (c.remove_key) {
    args.remove_key = View(c, static_cast<const float*>(remove_key.data()),
                           remove16.data(), states, c.dim);
  }
  const int64_t rows = c.transposed ? c.dim_v : c.dim;
  const int64_t cols = c.transposed ? c.dim : c.dim_v;
  const int64_t n = c.sequences();
  if (c.state) {
    args.initial_state =
        Bshd(static_cast<const float*>(state.data()), n, states, rows, cols);
  }
  args.final_state = Bshd(final_state.data(), n, states, rows, cols);
  if (c.normalise) {
    if (c.state) {
      args.initial_sum =
          Bshd(static_cast<const float*>(sum.data()), n, 1, states, c.dim);
    }
    args.final_sum = Bshd(final_sum.data(), n, 1, states, c.dim);
  }
  if (!c.cu_seqlens.empty()) {
    args.cu_seqlens = case_.cu_seqlens.data();
    args.num_sequences = n;
  }
  return args;
}

Status RunScanOn(const ScanConfig& config, const ScanParams& params,
                 const ScanArgs& args) {
  ScanOptions options;
  options.target = config.target.empty() ? nullptr : config.target.c_str();
  options.chunk = config.chunk;
  ScanPlan plan;
  const Status status = MakeScanPlan(params, ShapeOf(args), options, &plan);
  if (!status.ok()) return status;
  const WorkspaceBuffer workspace(ScanWorkspaceBytes(plan, config.workers));
  ThreadExecutor executor(config.workers);
  const Status ran = RunScan(plan, args, workspace.get(), executor);
  EXPECT_TRUE(workspace.TailIntact());
  return ran;
}

::testing::AssertionResult SameNumbers(const std::vector<float>& got,
                                       const std::vector<float>& want) {
  if (got.size() != want.size()) {
    return ::testing::AssertionFailure() << "sizes differ";
  }
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == want[i] || (std::isnan(got[i]) && std::isnan(want[i]))) {
      continue;
    }
    return ::testing::AssertionFailure()
           << "element " << i << ": got " << got[i] << ", want " << want[i];
  }
  return ::testing::AssertionSuccess();
}

double RelativeError(const std::vector<float>& got,
                     const std::vector<double>& want) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double d = static_cast<double>(got[i]) - want[i];
    error += d * d;
    norm += want[i] * want[i];
  }
  if (norm == 0) return error == 0 ? 0 : INFINITY;
  return std::sqrt(error / norm);
}

::testing::AssertionResult SameResults(const ScanTensors& got,
                                       const ScanTensors& want) {
  for (const auto part : {&ScanTensors::out, &ScanTensors::final_state,
                          &ScanTensors::final_sum}) {
    const auto same = SameNumbers(got.*part, want.*part);
    if (!same) {
      return ::testing::AssertionFailure()
             << (part == &ScanTensors::out           ? "out "
                 : part == &ScanTensors::final_state ? "state "
                                                     : "sum ")
             << same.message();
    }
  }
  if (got.out16 != want.out16) {
    return ::testing::AssertionFailure() << "out of 16 bits differs";
  }
  return ::testing::AssertionSuccess();
}

std::vector<ScanCase> ScanCases() {
  std::vector<ScanCase> cases;
  const auto add = [&](const auto& change) {
    ScanCase c;
    change(c);
    cases.push_back(c);
  };
  // Decay and delta rule in each combination, then everything else.
  for (const Decay decay :
       {Decay::kNone, Decay::kScalar, Decay::kVector, Decay::kFixed}) {
    for (const bool beta : {false, true}) {
      for (const Gates gates : {Gates::kMild, Gates::kHarsh, Gates::kMixed}) {
        if (decay == Decay::kNone && gates != Gates::kMild) continue;
        add([&](ScanCase& c) {
          c.decay = decay;
          c.beta = beta;
          c.gates = gates;
          c.state = true;
          c.seqlen = 77;
          c.dim = 24;
          c.dim_v = 40;
        });
      }
    }
  }
  for (const int64_t seqlen : {0, 1, 2, 7, 15, 16, 17, 31, 32, 33, 64, 65}) {
    add([&](ScanCase& c) {
      c.seqlen = seqlen;
      c.decay = seqlen % 2 == 0 ? Decay::kScalar : Decay::kVector;
      c.beta = seqlen % 3 == 0;
    });
  }
  const int64_t dims[][2] = {{1, 1},   {7, 5},    {8, 100}, {60, 64},
                             {64, 60}, {100, 33}, {128, 17}};
  for (const auto& dim : dims) {
    for (const bool normalise : {false, true}) {
      add([&](ScanCase& c) {
        c.dim = dim[0];
        c.dim_v = dim[1];
        c.normalise = normalise;
        c.decay = normalise ? Decay::kNone : Decay::kVector;
      });
    }
  }
  const int64_t heads[][3] = {{2, 2, 2}, {4, 2, 2}, {2, 2, 4},
                              {6, 1, 3}, {1, 3, 1}, {8, 2, 4}};
  for (const auto& h : heads) {
    for (const HeadMap map : {HeadMap::kInterleaved, HeadMap::kTiled}) {
      for (const Decay decay : {Decay::kScalar, Decay::kVector}) {
        add([&](ScanCase& c) {
          c.batch = 2;
          c.query_heads = h[0];
          c.key_heads = h[1];
          c.value_heads = h[2];
          c.head_map = map;
          c.decay = decay;
          c.normalise = map == HeadMap::kTiled;
          c.beta = !c.normalise;
          c.state = true;
          c.transposed = decay == Decay::kVector;
        });
      }
    }
  }
  // Single tokens, which meet the state where it lies.
  const int64_t steps[][2] = {{24, 40}, {7, 5}, {66, 130}};
  for (const auto& dim : steps) {
    for (const Decay decay : {Decay::kNone, Decay::kScalar, Decay::kVector}) {
      add([&](ScanCase& c) {
        c.batch = 3;
        c.seqlen = 1;
        c.query_heads = 4;
        c.value_heads = decay == Decay::kScalar ? 4 : 2;
        c.dim = dim[0];
        c.dim_v = dim[1];
        c.decay = decay;
        c.normalise = decay == Decay::kNone && dim[0] != 24;
        c.beta = !c.normalise;
        c.state = true;
        c.dtype = dim[0] == 7 ? DType::kBF16 : DType::kF32;
      });
    }
  }
  // The delta rule untied: what erases, what is erased along, or both.
  for (const Decay decay : {Decay::kNone, Decay::kScalar, Decay::kVector}) {
    for (const int keys : {1, 2, 3}) {
      for (const Gates gates : {Gates::kMild, Gates::kMixed}) {
        if (decay == Decay::kNone && gates != Gates::kMild) continue;
        for (const int64_t seqlen : {1, 77}) {
          add([&](ScanCase& c) {
            c.seqlen = seqlen;
            c.dim = seqlen == 1 || keys == 3 ? 24 : 16;
            c.dim_v = 40;
            c.decay = decay;
            c.gates = gates;
            c.erase_key = keys % 2 == 1;
            c.remove_key = keys > 1;
            c.beta = keys != 3;
            c.unfaded = keys == 3 || gates == Gates::kMixed;
            c.state = true;
            c.query_heads = 4;
            c.value_heads = 2;
            c.dtype = decay == Decay::kScalar && gates == Gates::kMild
                          ? DType::kBF16
                          : DType::kF32;
          });
        }
      }
    }
  }
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    add([&](ScanCase& c) {
      c.dtype = dtype;
      c.decay = Decay::kScalar;
      c.beta = true;
      c.dim_v = 37;
    });
  }
  for (const bool beta : {false, true}) {
    add([&](ScanCase& c) {
      c.cu_seqlens = {0, 0, 1, 16, 16, 33, 77, 100};
      c.seqlen = 100;
      c.query_heads = 2;
      c.value_heads = 2;
      c.beta = beta;
      c.normalise = !beta;
      c.decay = beta ? Decay::kVector : Decay::kFixed;
      c.state = true;
    });
  }
  return cases;
}

}  // namespace heed::test
