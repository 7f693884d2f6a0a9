// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "lib/oracle/element.h"
#include "lib/oracle/oracle.h"
#include "lib/oracle/sequences.h"

namespace heed::test {
namespace {

// Calls visit(b, s, h, c) for every element of a view.
template <typename View, typename Visit>
void ForEach(const View& view, Visit visit) {
  for (int64_t b = 0; b < view.batch(); ++b) {
    for (int64_t s = 0; s < view.seqlen(); ++s) {
      for (int64_t h = 0; h < view.heads(); ++h) {
        for (int64_t c = 0; c < view.head_dim(); ++c) visit(b, s, h, c);
      }
    }
  }
}

std::string Place(int64_t b, int64_t s, int64_t h, int64_t c) {
  return "[batch " + std::to_string(b) + "][position " + std::to_string(s) +
         "][head " + std::to_string(h) + "][" + std::to_string(c) + "]";
}

double Largest(const std::vector<double>& values) {
  double largest = 0;
  for (const double value : values) {
    if (std::isfinite(value)) largest = std::max(largest, std::fabs(value));
  }
  return largest;
}

double LargestError(const std::vector<float>& got,
                    const std::vector<double>& want) {
  double largest = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isfinite(want[i]) && std::isfinite(got[i])) {
      largest = std::max(largest, std::fabs(got[i] - want[i]));
    }
  }
  return largest;
}

double LargestElement(const oracle::ScaledTensor& tensor) {
  double largest = 0;
  ForEach(tensor.view, [&](int64_t b, int64_t s, int64_t h, int64_t c) {
    const double element = oracle::ElementAt(tensor, b, s, h, c);
    if (std::isfinite(element)) {
      largest = std::max(largest, std::fabs(element));
    }
  });
  return largest;
}

// The largest |scale * q k| of any visible pair, before softcap.
double LargestDenseScore(const AttentionParams& params,
                         const AttentionArgs& args) {
  const int64_t dim = args.query.head_dim();
  const double scale = params.softmax_scale != 0.0f
                           ? static_cast<double>(params.softmax_scale)
                           : 1.0 / std::sqrt(static_cast<double>(dim));
  double largest = 0;
  std::vector<double> query(static_cast<size_t>(dim)), key_row(query.size());
  for (int64_t b = 0; b < args.query.batch(); ++b) {
    for (int64_t h = 0; h < args.query.heads(); ++h) {
      const int64_t kv_head = h / (args.query.heads() / args.key.heads());
      for (int64_t row = 0; row < args.query.seqlen(); ++row) {
        oracle::ReadQuery(args, b, row, h, query.data());
        for (int64_t key = 0; key < args.key.seqlen(); ++key) {
          if (!oracle::Visible(params, args, b, h, row, key)) continue;
          oracle::ReadRow(oracle::KeyOf(args), b, key, kv_head, key_row.data());
          double score = 0;
          for (size_t c = 0; c < query.size(); ++c) {
            score += query[c] * key_row[c];
          }
          score = std::fabs(score * scale);
          if (std::isfinite(score)) largest = std::max(largest, score);
        }
      }
    }
  }
  return largest;
}

double LargestScore(const AttentionParams& params, const AttentionArgs& args) {
  double largest = 0;
  oracle::ForEachSequence(
      params, args,
      [&](const AttentionParams& of_one, const AttentionArgs& one) {
        largest = std::max(largest, LargestDenseScore(of_one, one));
      });
  return largest;
}

::testing::AssertionResult Within(const char* name, const eval::Tensor& got,
                                  const std::vector<double>& want,
                                  double bound) {
  ::testing::AssertionResult result = ::testing::AssertionSuccess();
  size_t i = 0;
  ForEach(got.view, [&](int64_t b, int64_t s, int64_t h, int64_t c) {
    const double expected = want[i++];
    const double value = *got.At(b, s, h, c);
    const bool same_kind = std::isnan(expected) ? std::isnan(value)
                           : std::isinf(expected)
                               ? value == expected
                               : std::fabs(value - expected) <= bound;
    if (same_kind || !result) return;
    result = ::testing::AssertionFailure()
             << name << Place(b, s, h, c) << " is " << value << ", not "
             << expected << "; off by " << std::fabs(value - expected)
             << ", bound " << bound;
  });
  return result;
}

}  // namespace

uint32_t CanonicalBits(float value) {
  if (value != value) return 0x7fc00000u;
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

::testing::AssertionResult SameBits(const eval::Tensor& got,
                                    const eval::Tensor& want) {
  int64_t different = 0;
  std::string first;
  ForEach(want.view, [&](int64_t b, int64_t s, int64_t h, int64_t c) {
    // Widening keeps different elements different.
    const auto value =
        static_cast<float>(oracle::ElementAt(got.view, b, s, h, c));
    const auto expected =
        static_cast<float>(oracle::ElementAt(want.view, b, s, h, c));
    if (CanonicalBits(value) == CanonicalBits(expected)) return;
    if (different++ == 0) {
      char text[160];
      std::snprintf(text, sizeof(text), "%s is %.9g (%a), not %.9g (%a)",
                    Place(b, s, h, c).c_str(), value, value, expected,
                    expected);
      first = text;
    }
  });
  if (different == 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << different << " elements differ; the first: " << first;
}

::testing::AssertionResult Untouched(const eval::Tensor& tensor) {
  for (const float& element : *tensor.memory) {
    uint32_t bits;
    std::memcpy(&bits, &element, sizeof(bits));
    if (bits != eval::kSentinelBits) {
      return ::testing::AssertionFailure()
             << "element " << (&element - tensor.memory->data())
             << " of the buffer was written: " << element;
    }
  }
  return ::testing::AssertionSuccess();
}

Truth::Truth(const AttentionParams& params, const AttentionArgs& args) {
  const size_t rows = static_cast<size_t>(
      args.query.batch() * args.query.seqlen() * args.query.heads());
  const size_t elements = rows * static_cast<size_t>(args.value.head_dim());
  out_.resize(elements);
  lse_.resize(rows);
  oracle::AttentionDouble(params, args, out_.data(), lse_.data());
  std::vector<float> out(elements), lse(rows);
  oracle::AttentionPlainFloat(params, args, out.data(), lse.data());
  const double u = std::ldexp(1.0, -24);
  const double s =
      (1 + std::sqrt(static_cast<double>(args.query.head_dim())) / 4) *
      LargestScore(params, args);
  const double n =
      static_cast<double>(std::min<int64_t>(args.key.seqlen(), 4096));
  out_bound_ = 2 * LargestError(out, out_) +
               u * ((8 + s) * LargestElement(oracle::ValueOf(args)) +
                    n / 4 * Largest(out_));
  lse_bound_ =
      2 * LargestError(lse, lse_) + u * (8 + s + n / 4 + Largest(lse_));
}

::testing::AssertionResult Truth::Near(const eval::Tensor& out,
                                       const eval::Tensor& lse) const {
  const ::testing::AssertionResult result =
      Within("out", out, out_, out_bound_);
  if (!result) return result;
  return Within("lse", lse, lse_, lse_bound_);
}

}  // namespace heed::test
