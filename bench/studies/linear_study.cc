// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Two findings about linear attention that need no model and no clock, as CSV:
//
//   linear_study decay    error and NaNs of three ways to multiply decays
//   linear_study recall   what states of some bytes give back
//
// docs/linear.md shows both.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "heed/linear.h"
#include "lib/oracle/recurrence.h"

namespace heed {
namespace {

// Rows by the numbers that the library counts with.
struct Floats : std::vector<float> {
  Floats() = default;
  explicit Floats(int64_t count, float x = 0)
      : std::vector<float>(static_cast<size_t>(count), x) {}
  float& operator[](int64_t i) { return data()[i]; }
  float operator[](int64_t i) const { return data()[i]; }
};

Floats Normal(std::mt19937& random, int64_t count, double scale) {
  std::normal_distribution<double> normal;
  Floats x;
  for (int64_t i = 0; i < count; ++i) {
    x.push_back(static_cast<float>(scale * normal(random)));
  }
  return x;
}

// ---- Decays -----------------------------------------------------------------

constexpr int64_t kTokens = 512, kDim = 64, kChunk = 64;

struct DecayProblem {
  Floats query, key, value, gate;
  Floats out = Floats(kTokens * kDim);

  ScanArgs Args() {
    const auto view = [](const Floats& x, int64_t dim) {
      return Bshd(x.data(), 1, kTokens, 1, dim);
    };
    ScanArgs args;
    args.query = view(query, kDim);
    args.key = view(key, kDim);
    args.value = view(value, kDim);
    args.log_decay = view(gate, 1);
    args.out = Bshd(out.data(), 1, kTokens, 1, kDim);
    return args;
  }
};

// The chunked form in f32 with decays from sums of gates over a chunk: `split`
// into exp(sum_i) and exp(-sum_j), or as exp(sum_i - sum_j).
Floats FromSums(const DecayProblem& p, bool split) {
  Floats out(kTokens * kDim), state(kDim * kDim);
  const float scale = 1 / std::sqrt(static_cast<float>(kDim));
  for (int64_t first = 0; first < kTokens; first += kChunk) {
    float sum[kChunk], total = 0;
    for (int64_t i = 0; i < kChunk; ++i) sum[i] = total += p.gate[first + i];
    const auto between = [&](float late, float early) {
      return split ? std::exp(late) * std::exp(-early) : std::exp(late - early);
    };
    for (int64_t i = 0; i < kChunk; ++i) {
      const float* q = p.query.data() + (first + i) * kDim;
      float* row = out.data() + (first + i) * kDim;
      for (int64_t m = 0; m < kDim; ++m) {
        const float read = scale * q[m] * std::exp(sum[i]);
        for (int64_t x = 0; x < kDim; ++x) row[x] += read * state[m * kDim + x];
      }
      for (int64_t j = 0; j <= i; ++j) {
        float weight = 0;
        for (int64_t m = 0; m < kDim; ++m) {
          weight += q[m] * p.key[(first + j) * kDim + m];
        }
        weight *= scale * between(sum[i], sum[j]);
        for (int64_t x = 0; x < kDim; ++x) {
          row[x] += weight * p.value[(first + j) * kDim + x];
        }
      }
    }
    for (float& s : state) s *= std::exp(total);
    for (int64_t j = 0; j < kChunk; ++j) {
      const float left = between(total, sum[j]);
      for (int64_t m = 0; m < kDim; ++m) {
        for (int64_t x = 0; x < kDim; ++x) {
          state[m * kDim + x] += left * p.key[(first + j) * kDim + m] *
                                 p.value[(first + j) * kDim + x];
        }
      }
    }
  }
  return out;
}

void PrintDecay(double gate, const char* way, const Floats& got,
                const std::vector<double>& want) {
  double error = 0, norm = 0;
  int bad = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    norm += want[i] * want[i];
    const double distance = static_cast<double>(got.data()[i]) - want[i];
    if (std::isfinite(distance)) {
      error += distance * distance;
    } else {
      ++bad;
    }
  }
  std::printf("%g,%s,%.3g,%.4f\n", gate, way, std::sqrt(error / norm),
              static_cast<double>(bad) / static_cast<double>(want.size()));
}

int Decay() {
  std::printf("gate,way,error,not_finite\n");
  for (const double gate :
       {-0.01, -0.03, -0.1, -0.3, -1.0, -2.0, -5.0, -10.0, -20.0, -60.0}) {
    std::mt19937 random(1);
    DecayProblem p;
    p.query = Normal(random, kTokens * kDim, 1);
    p.key = Normal(random, kTokens * kDim, 1);
    p.value = Normal(random, kTokens * kDim, 1);
    std::uniform_real_distribution<float> of(static_cast<float>(2 * gate), 0);
    for (int64_t i = 0; i < kTokens; ++i) p.gate.push_back(of(random));
    std::vector<double> want(p.out.size());
    oracle::RecurrenceDouble({}, p.Args(), want.data(), nullptr, nullptr);
    PrintDecay(gate, "exp(-sum)", FromSums(p, true), want);
    PrintDecay(gate, "exp(sum - sum)", FromSums(p, false), want);
    if (!Scan({}, p.Args()).ok()) return 1;
    PrintDecay(gate, "products", p.out, want);
  }
  return 0;
}

// ---- Recall -----------------------------------------------------------------

struct Rule {
  const char* name;
  float log_decay;  // a token
  float beta;       // 0: no delta rule
};
const Rule kRules[] = {{"linear", 0, 0},
                       {"decay 0.97", std::log(0.97f), 0},
                       {"delta 1", 0, 1},
                       {"delta 0.5", 0, 0.5f},
                       {"gated delta 0.98", std::log(0.98f), 1}};
constexpr int64_t kWords = 64;  // that values are taken from

// Random rows of unit length.
Floats UnitRows(std::mt19937& random, int64_t rows, int64_t dim) {
  Floats x = Normal(random, rows * dim, 1);
  for (int64_t i = 0; i < rows; ++i) {
    double square = 0;
    for (int64_t c = 0; c < dim; ++c) {
      square += static_cast<double>(x[i * dim + c] * x[i * dim + c]);
    }
    for (int64_t c = 0; c < dim; ++c) {
      x[i * dim + c] /= static_cast<float>(std::sqrt(square));
    }
  }
  return x;
}

// Items written in turn `rounds` times with new words each time; then each is
// asked for its last.
struct RecallProblem {
  int64_t dim, items, rounds;
  Floats keys, words;
  std::vector<int64_t> word;  // of each write

  RecallProblem(int64_t width, int64_t count, int64_t times, uint32_t seed)
      : dim(width), items(count), rounds(times) {
    std::mt19937 random(seed);
    keys = UnitRows(random, items, dim);
    words = UnitRows(random, kWords, dim);
    std::uniform_int_distribution<int64_t> draw(0, kWords - 1);
    for (int64_t i = 0; i < items * rounds; ++i) word.push_back(draw(random));
  }

  // Whether what is read for an item is nearest to its word.
  bool Right(int64_t item, const float* read) const {
    int64_t best = 0;
    double most = -INFINITY;
    for (int64_t w = 0; w < kWords; ++w) {
      double dot = 0;
      for (int64_t c = 0; c < dim; ++c) {
        dot += static_cast<double>(read[c]) *
               static_cast<double>(words[w * dim + c]);
      }
      if (dot > most) best = w;
      most = std::max(most, dot);
    }
    return best == word[static_cast<size_t>((rounds - 1) * items + item)];
  }
};

// What a state of a rule reads for each item; empty where it is refused.
Floats ReadState(const RecallProblem& p, const Rule& rule) {
  const int64_t writes = p.items * p.rounds;
  Floats key, value, out(p.items * p.dim), state(p.dim * p.dim);
  for (int64_t i = 0; i < writes; ++i) {
    const float* k = p.keys.data() + i % p.items * p.dim;
    const float* v = p.words.data() + p.word[static_cast<size_t>(i)] * p.dim;
    key.insert(key.end(), k, k + p.dim);
    value.insert(value.end(), v, v + p.dim);
  }
  const Floats gate(writes, rule.log_decay), beta(writes, rule.beta);
  ScanArgs write, read;
  write.key = Bshd(static_cast<const float*>(key.data()), 1, writes, 1, p.dim);
  write.value =
      Bshd(static_cast<const float*>(value.data()), 1, writes, 1, p.dim);
  if (rule.log_decay != 0) write.log_decay = Bshd(gate.data(), 1, writes, 1, 1);
  if (rule.beta != 0) write.beta = Bshd(beta.data(), 1, writes, 1, 1);
  write.final_state = Bshd(state.data(), 1, 1, p.dim, p.dim);
  read.query = Bshd(p.keys.data(), 1, p.items, 1, p.dim);
  read.out = Bshd(out.data(), 1, p.items, 1, p.dim);
  read.initial_state =
      Bshd(static_cast<const float*>(state.data()), 1, 1, p.dim, p.dim);
  if (!Scan({}, write).ok() || !Scan({}, read).ok()) return {};
  return out;
}

int Recall() {
  constexpr uint32_t kSeeds = 40;
  std::printf("task,items,head_dim,state_bytes,rule,all,oldest,newest\n");
  const struct {
    const char* name;
    int64_t items, rounds;
  } tasks[] = {{"write once", 64, 1}, {"overwrite", 16, 16}};
  for (const auto& task : tasks) {
    for (const int64_t dim : {16, 24, 32, 48, 64, 96, 128}) {
      for (const Rule& rule : kRules) {
        double all = 0, oldest = 0, newest = 0;
        const int64_t quarter = task.items / 4;
        for (uint32_t seed = 1; seed <= kSeeds; ++seed) {
          const RecallProblem p(dim, task.items, task.rounds, seed);
          const Floats read = ReadState(p, rule);
          if (read.empty()) return 1;
          for (int64_t i = 0; i < task.items; ++i) {
            const double right = p.Right(i, read.data() + i * dim) ? 1 : 0;
            all += right;
            if (i < quarter) oldest += right;
            if (i >= task.items - quarter) newest += right;
          }
        }
        std::printf("%s,%d,%d,%d,%s,%.3f,%.3f,%.3f\n", task.name,
                    static_cast<int>(task.items), static_cast<int>(dim),
                    static_cast<int>(4 * dim * dim), rule.name,
                    all / static_cast<double>(kSeeds * task.items),
                    oldest / static_cast<double>(kSeeds * quarter),
                    newest / static_cast<double>(kSeeds * quarter));
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace heed

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "decay") == 0) return heed::Decay();
  if (argc == 2 && std::strcmp(argv[1], "recall") == 0) return heed::Recall();
  std::fprintf(stderr, "usage: linear_study decay|recall\n");
  return 2;
}
