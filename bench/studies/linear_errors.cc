// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What each head of captured tensors loses where a linear variant stands in for
// softmax, beside what is known of the head beforehand, as CSV:
//
//   linear_errors data/smollm2_135m_moby_dick.safetensors
//
// entropy     of a row's attention, in nats, the mean over rows
// exponent    |q' + k'|^2 with q' and k' times the root of the scale: the mean
//             under attention, over rows
// predicted   relative standard deviation of a weight that `performer`
//             estimates at that exponent, sqrt((exp(exponent) - 1) / features)
// mean        relative L2 error where all keys so far count alike
// others      that of the variant of this name, at its defaults
//
// Needs no clock. Maps that models learn are drawn. docs/linear.md shows it.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "heed/ops.h"
#include "lib/eval/call_run.h"
#include "lib/eval/tensor_source.h"
#include "lib/io/input_error.h"

namespace heed {
namespace {

// Those that stand in for softmax attention.
const char* const kVariants[] = {"linear_elu", "cosformer", "hedgehog",
                                 "t2r",        "based",     "rebased",
                                 "rfa",        "performer", "window_linear"};
constexpr double kFeatures = 256;  // performer's default

struct HeadFacts {
  double entropy = 0, exponent = 0, mean_error = 0;
};

double DotOf(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t c = 0; c < n; ++c) {
    sum += static_cast<double>(a[c]) * static_cast<double>(b[c]);
  }
  return sum;
}

// Of one causal head, row i of which sees keys 0 to i.
HeadFacts FactsOf(const eval::Tensors& t, int64_t head) {
  const ConstTensorView query = t.Args().query, key = t.Args().key;
  const ConstTensorView value = t.Args().value;
  const int64_t rows = query.seqlen(), dim = query.head_dim();
  const int64_t dim_v = value.head_dim();
  const int64_t kv = head / (query.heads() / key.heads());
  const double scale =
      static_cast<double>(ops::SoftmaxScale(t.problem.params, dim));
  HeadFacts facts;
  std::vector<double> weight(static_cast<size_t>(rows));
  std::vector<double> sum(static_cast<size_t>(dim_v)), out(sum.size());
  double error = 0, norm = 0;
  for (int64_t i = 0; i < rows; ++i) {
    const float* q = RowAt(query, 0, i, head);
    double most = -INFINITY, total = 0;
    for (int64_t j = 0; j <= i; ++j) {
      double& score = weight[static_cast<size_t>(j)];
      score = scale * DotOf(q, RowAt(key, 0, j, kv), dim);
      most = std::fmax(most, score);
    }
    for (int64_t j = 0; j <= i; ++j) {
      double& w = weight[static_cast<size_t>(j)];
      w = std::exp(w - most);
      total += w;
    }
    const double query_square = DotOf(q, q, dim);
    out.assign(out.size(), 0.0);
    for (int64_t j = 0; j <= i; ++j) {
      const double p = weight[static_cast<size_t>(j)] / total;
      const float* k = RowAt(key, 0, j, kv);
      if (p > 0) facts.entropy -= p * std::log(p);
      facts.exponent +=
          p * scale * (query_square + DotOf(k, k, dim) + 2 * DotOf(q, k, dim));
      const float* v = RowAt(value, 0, j, kv);
      for (int64_t x = 0; x < dim_v; ++x) {
        out[static_cast<size_t>(x)] += p * static_cast<double>(v[x]);
      }
    }
    for (int64_t x = 0; x < dim_v; ++x) {
      const size_t at = static_cast<size_t>(x);
      sum[at] += static_cast<double>(RowAt(value, 0, i, kv)[x]);
      const double off = sum[at] / static_cast<double>(i + 1) - out[at];
      error += off * off;
      norm += out[at] * out[at];
    }
  }
  facts.entropy /= static_cast<double>(rows);
  facts.exponent /= static_cast<double>(rows);
  facts.mean_error = std::sqrt(error / norm);
  return facts;
}

std::vector<eval::Setting> Settings() {
  std::vector<eval::Setting> settings;
  for (const char* name : kVariants) {
    const auto parsed = eval::ParseSettings(name, eval::AllVariants());
    settings.insert(settings.end(), parsed.begin(), parsed.end());
  }
  return settings;
}

void Print(const eval::Layer& layer, const std::vector<eval::Setting>& all) {
  const eval::CompareOptions options;
  eval::CallRun run(layer, options);
  eval::ScratchPool scratch;
  std::vector<eval::Measurement> cells;
  for (const eval::Setting& setting : all) {
    cells.push_back(run.Probe(setting, &scratch));
    if (cells.back().gate != eval::Gate::kPassed) {
      throw io::InputError(eval::FormatSetting(setting) + ": " +
                           cells.back().reason);
    }
  }
  const int64_t heads = layer.tensors.problem.shape.num_heads;
  for (int64_t h = 0; h < heads; ++h) {
    const HeadFacts facts = FactsOf(layer.tensors, h);
    std::printf("%s,%d,%.3f,%.2f,%.3g,%.4f", layer.name.c_str(),
                static_cast<int>(h), facts.entropy, facts.exponent,
                std::sqrt(std::expm1(facts.exponent) / kFeatures),
                facts.mean_error);
    for (const eval::Measurement& cell : cells) {
      std::printf(",%.4f", cell.heads[static_cast<size_t>(h)].rel_l2);
    }
    std::printf("\n");
  }
}

void PrintAll(const char* path) {
  const eval::TensorSource source = eval::LoadCapture(path, {});
  const std::vector<eval::Setting> settings = Settings();
  std::printf("layer,head,entropy,exponent,predicted,mean");
  for (const char* name : kVariants) std::printf(",%s", name);
  std::printf("\n");
  for (const eval::Layer& layer : source.layers) Print(layer, settings);
}

}  // namespace
}  // namespace heed

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: linear_errors FILE.safetensors\n");
    return 2;
  }
  try {
    heed::PrintAll(argv[1]);
  } catch (const heed::io::InputError& error) {
    std::fprintf(stderr, "linear_errors: %s\n", error.what());
    return 1;
  }
  return 0;
}
