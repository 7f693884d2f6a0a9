// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/layers/layer_case.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>

#include "tests/support/compare.h"
#include "tests/support/run.h"
#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

constexpr int64_t kPageSize = 5;
constexpr int64_t kMostPositions = 4096;

size_t Size(int64_t n) { return static_cast<size_t>(n); }

std::vector<double> Doubles(const std::vector<float>& x) {
  return std::vector<double>(x.begin(), x.end());
}

float Widened(uint16_t bits, DType dtype) {
  return dtype == DType::kBF16 ? ToFloat(bf16{bits}) : ToFloat(f16{bits});
}

MultiHeadParams ResolvedParams(const MultiHeadParams& given) {
  MultiHeadPlan plan;
  const Status status =
      MakeMultiHeadPlan(given, MultiHeadShape(), MultiHeadOptions(), &plan);
  EXPECT_TRUE(status.ok()) << ToString(status);
  return plan.params;
}

// A cache of `tokens` positions a sequence, in its own memory.
struct Cache {
  Cache(const LayerCase& c, const MultiHeadParams& p, int64_t tokens)
      : element(SizeOf(c.cache_dtype)),
        pages_each((tokens - 1) / kPageSize + 1),
        capacity(c.cache == CacheKind::kContiguous ? tokens + 3
                                                   : pages_each * kPageSize),
        key(Size(c.batch * capacity * p.num_kv_heads * p.head_dim * element)),
        value(
            Size(c.batch * capacity * p.num_kv_heads * p.head_dim_v * element)),
        past(Size(c.batch), 0) {
    const bool paged = c.cache != CacheKind::kContiguous;
    const auto view = [&](const AlignedBytes& memory, int64_t dim) {
      const int64_t b = paged ? c.batch * pages_each : c.batch;
      const int64_t s = paged ? kPageSize : capacity;
      TensorView v = c.cache_dtype == DType::kF32
                         ? Bshd(static_cast<float*>(memory.data()), b, s,
                                p.num_kv_heads, dim)
                         : Bshd(static_cast<bf16*>(memory.data()), b, s,
                                p.num_kv_heads, dim);
      v.dtype = c.cache_dtype;
      return v;
    };
    key_view = view(key, p.head_dim);
    value_view = view(value, p.head_dim_v);
    // Last page first, sequences interleaved.
    for (int64_t b = 0; paged && b < c.batch; ++b) {
      for (int64_t i = 0; i < pages_each; ++i) {
        table.push_back(
            static_cast<int32_t>((pages_each - 1 - i) * c.batch + b));
      }
    }
    if (c.cache != CacheKind::kPointers) return;
    for (const int32_t page : table) {
      key_pages.push_back(internal::BytesAt(key_view, page, 0, 0));
      value_pages.push_back(internal::BytesAt(value_view, page, 0, 0));
    }
    for (TensorView* page : {&key_view, &value_view}) {
      page->data = nullptr;
      page->extent[0] = 1;
    }
  }

  void Into(MultiHeadArgs* args, int64_t batch) {
    args->key_cache = key_view;
    args->value_cache = value_view;
    args->past_lengths = past.data();
    if (table.empty()) return;
    if (key_pages.empty()) {
      args->pages.page_table = table.data();
    } else {
      args->pages.key_pages = key_pages.data();
      args->pages.value_pages = value_pages.data();
    }
    args->pages.num_sequences = batch;
    args->pages.pages_per_sequence = pages_each;
    args->pages.table_stride = pages_each;
  }

  int64_t element, pages_each, capacity;
  AlignedBytes key, value;
  std::vector<int32_t> past;
  TensorView key_view, value_view;
  std::vector<int32_t> table;
  std::vector<void*> key_pages, value_pages;
};

}  // namespace

std::string LayerCase::Text() const {
  return "b" + std::to_string(batch) + " q" + std::to_string(seqlen_q) + " k" +
         std::to_string(seqlen_k) + " model" +
         std::to_string(params.model_dim) + " h" +
         std::to_string(params.num_heads) + "/" +
         std::to_string(params.num_kv_heads) + " bias" + std::to_string(bias) +
         " weights " + NameOf(weight_dtype) + " input " + NameOf(input_dtype) +
         " out " + NameOf(out_dtype) + " cache" +
         std::to_string(static_cast<int>(cache)) + " " + NameOf(cache_dtype) +
         " rotary" + std::to_string(rotary_dim);
}

AlignedBytes::AlignedBytes(size_t bytes, unsigned char fill)
    : data_(
          std::aligned_alloc(64, std::max<size_t>((bytes + 63) / 64 * 64, 64)),
          &std::free),
      size_(bytes) {
  std::memset(data_.get(), fill, std::max<size_t>(bytes, 1));
}

Elements::Elements(std::vector<float> numbers, DType type)
    : f32(std::move(numbers)), dtype(type) {
  if (type == DType::kF32) return;
  for (float& x : f32) {
    bits.push_back(type == DType::kBF16 ? ToBF16(x).bits : ToF16(x).bits);
    x = Widened(bits.back(), type);
  }
}

ConstTensorView Elements::View(int64_t b, int64_t s, int64_t h,
                               int64_t d) const {
  if (dtype == DType::kF32) return Bshd(f32.data(), b, s, h, d);
  ConstTensorView view =
      Bshd(reinterpret_cast<const bf16*>(bits.data()), b, s, h, d);
  view.dtype = dtype;
  return view;
}

std::vector<float> Normal(int64_t count, uint64_t seed, float scale) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> x(Size(count));
  for (float& element : x) element = normal(random);
  return x;
}

Layer::Packed Layer::Pack(int64_t out, int64_t in, uint64_t seed,
                          bool zero) const {
  const float scale = 1 / std::sqrt(static_cast<float>(in));
  std::vector<float> numbers = Normal(out * in, seed, scale);
  std::vector<float> bias;
  if (case_.bias) bias = Normal(out, seed + 100, 0.3f);
  for (float& x : numbers) {
    if (case_.whole_numbers) x = std::round(4 * x);
    if (zero) x = 0;
  }
  for (float& x : bias) x = zero ? 0 : x;
  Elements weight(std::move(numbers), case_.weight_dtype);
  LinearWeights source;
  source.weight = weight.View(1, out, 1, in);
  if (case_.bias) source.bias = Bshd<const float>(bias.data(), 1, 1, 1, out);
  AlignedBytes memory(PackedLinearBytes(source));
  PackedLinear linear;
  const Status status =
      PackLinear(source, memory.data(), memory.size(), &linear);
  EXPECT_TRUE(status.ok()) << ToString(status);
  return {std::move(weight), std::move(bias), std::move(memory), linear};
}

Layer::Layer(const LayerCase& c, uint64_t seed)
    : query({}, c.input_dtype),
      key({}, c.input_dtype),
      value({}, c.input_dtype),
      case_(c),
      dims_(ResolvedParams(c.params)),
      packed_{Pack(dims_.num_heads * dims_.head_dim, dims_.model_dim, seed * 10,
                   c.zero_queries || c.whole_numbers),
              Pack(dims_.num_kv_heads * dims_.head_dim, dims_.key_dim,
                   seed * 10 + 1, false),
              Pack(dims_.num_kv_heads * dims_.head_dim_v, dims_.value_dim,
                   seed * 10 + 2, false),
              Pack(dims_.out_dim, dims_.num_heads * dims_.head_dim_v,
                   seed * 10 + 3, false)} {
  query = Elements(Normal(c.batch * c.seqlen_q * dims_.model_dim, seed * 7),
                   c.input_dtype);
  if (c.seqlen_k > 0) {
    key = Elements(Normal(c.batch * c.seqlen_k * dims_.key_dim, seed * 7 + 1),
                   c.input_dtype);
  }
  if (c.own_value) {
    value = Elements(Normal(c.batch * c.keys() * dims_.value_dim, seed * 7 + 2),
                     c.input_dtype);
  }
  if (c.rotary_dim == 0) return;
  frequency_.resize(Size(c.rotary_dim / 2));
  cos_.resize(Size(c.rotary_dim / 2 * kMostPositions));
  sin_ = cos_;
  EXPECT_TRUE(RopeFrequencies(10000, c.rotary_dim, frequency_.data()).ok());
  EXPECT_TRUE(FillRopeTables(frequency_.data(), c.rotary_dim, 0, kMostPositions,
                             cos_.data(), sin_.data())
                  .ok());
}

MultiHeadShape Layer::Shape() const {
  MultiHeadShape shape;
  shape.batch = case_.batch;
  shape.seqlen_q = case_.seqlen_q;
  shape.seqlen_k = case_.keys();
  shape.input_dtype = case_.input_dtype;
  shape.out_dtype = case_.out_dtype;
  shape.scores = scores.any();
  if (case_.cache == CacheKind::kNone) return shape;
  shape.cache = true;
  shape.seqlen_new = case_.keys();
  shape.key_cache_dtype = shape.value_cache_dtype = case_.cache_dtype;
  if (case_.cache != CacheKind::kContiguous) {
    shape.seqlen_k = (case_.keys() - 1) / kPageSize * kPageSize + kPageSize;
  }
  return shape;
}

MultiHeadArgs Layer::Args() const {
  MultiHeadArgs args;
  args.query = query.View(case_.batch, case_.seqlen_q, 1, dims_.model_dim);
  if (case_.seqlen_k > 0) {
    args.key = key.View(case_.batch, case_.seqlen_k, 1, dims_.key_dim);
  }
  if (case_.own_value) {
    args.value = value.View(case_.batch, case_.keys(), 1, dims_.value_dim);
  }
  args.weights.query = packed_[0].linear;
  args.weights.key = packed_[1].linear;
  args.weights.value = packed_[2].linear;
  args.weights.out = packed_[3].linear;
  if (case_.rotary_dim > 0) {
    args.rope.rotary_dim = case_.rotary_dim;
    args.rope.interleaved = case_.interleaved;
    args.rope.num_positions = kMostPositions;
    args.rope.cos = cos_.data();
    args.rope.sin = sin_.data();
  }
  args.scores = scores;
  return args;
}

oracle::LinearTruth Layer::TruthOf(const Packed& packed) const {
  return {Doubles(packed.weight.f32), Doubles(packed.bias)};
}

oracle::MultiHeadTruth Layer::Truth() const {
  oracle::MultiHeadTruth t;
  t.params = case_.params.attention;
  t.scores = scores;
  t.batch = case_.batch;
  t.seqlen_q = case_.seqlen_q;
  t.seqlen_k = case_.keys();
  t.num_heads = dims_.num_heads;
  t.num_kv_heads = dims_.num_kv_heads;
  t.head_dim = dims_.head_dim;
  t.head_dim_v = dims_.head_dim_v;
  t.query = Doubles(query.f32);
  t.key = case_.seqlen_k > 0 ? Doubles(key.f32) : t.query;
  t.value = case_.own_value ? Doubles(value.f32) : t.key;
  t.query_linear = TruthOf(packed_[0]);
  t.key_linear = TruthOf(packed_[1]);
  t.value_linear = TruthOf(packed_[2]);
  t.out_linear = TruthOf(packed_[3]);
  t.rope.interleaved = case_.interleaved;
  t.rope.frequency = frequency_;
  const int64_t offset = case_.params.attention.causal_offset;
  t.query_position = offset == kBottomRight ? t.seqlen_k - t.seqlen_q : offset;
  return t;
}

std::vector<float> Layer::Run(const LayerRun& run) const {
  MultiHeadPlan plan;
  MultiHeadOptions options;
  if (!run.target.empty()) options.target = run.target.c_str();
  Status status = MakeMultiHeadPlan(case_.params, Shape(), options, &plan);
  EXPECT_TRUE(status.ok()) << ToString(status);
  std::vector<float> out(Size(case_.batch * case_.seqlen_q * dims_.out_dim),
                         NAN);
  if (!status.ok()) return out;
  const WorkspaceBuffer workspace(MultiHeadWorkspaceBytes(plan, run.workers));
  ThreadExecutor threads(run.workers);
  std::vector<uint16_t> out16(out.size());
  MultiHeadArgs args = Args();
  args.out = Bshd(out.data(), case_.batch, case_.seqlen_q, 1, dims_.out_dim);
  if (case_.out_dtype != DType::kF32) {
    args.out = Bshd(reinterpret_cast<bf16*>(out16.data()), case_.batch,
                    case_.seqlen_q, 1, dims_.out_dim);
    args.out.dtype = case_.out_dtype;
  }
  Cache cache(case_, dims_, case_.keys());
  if (case_.cache != CacheKind::kNone) cache.Into(&args, case_.batch);
  const std::vector<int64_t> chunks =
      run.chunks.empty() ? std::vector<int64_t>{case_.seqlen_q} : run.chunks;
  std::vector<int32_t> positions(Size(case_.batch * case_.seqlen_q));
  for (size_t i = 0; i < positions.size(); ++i) {
    positions[i] = static_cast<int32_t>(
        run.first_position + static_cast<int64_t>(i) % case_.seqlen_q);
  }
  if (run.first_position != 0) {
    args.query_positions = args.key_positions = positions.data();
  }
  int64_t done = 0;
  for (const int64_t rows : chunks) {
    MultiHeadArgs chunk = args;
    chunk.query = TokensOf(args.query, done, rows);
    chunk.out = TokensOf(args.out, done, rows);
    if (case_.own_value && case_.seqlen_k == 0) {
      chunk.value = TokensOf(args.value, done, rows);
    }
    // Of cross-attention, the keys all come with the first rows.
    if (case_.seqlen_k > 0 && done > 0) {
      chunk.key = TokensOf(args.key, 0, 0);
      chunk.value = TokensOf(args.value, 0, 0);
    }
    status = RunMultiHead(plan, chunk, workspace.get(), threads);
    EXPECT_TRUE(status.ok()) << ToString(status) << " " << case_.Text();
    const int64_t keys = chunk.key.absent() ? rows : chunk.key.seqlen();
    for (int32_t& past : cache.past) past += static_cast<int32_t>(keys);
    done += rows;
  }
  EXPECT_TRUE(workspace.TailIntact());
  if (case_.out_dtype != DType::kF32) {
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = Widened(out16[i], case_.out_dtype);
    }
  }
  return out;
}

double LargestError(const std::vector<float>& got,
                    const std::vector<double>& want) {
  double largest = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double error = std::fabs(static_cast<double>(got[i]) - want[i]);
    // NaN counts as the worst.
    if (!(error <= largest)) largest = std::isnan(error) ? INFINITY : error;
  }
  return largest;
}

double Largest(const std::vector<double>& numbers) {
  double largest = 0;
  for (const double x : numbers) largest = std::max(largest, std::fabs(x));
  return largest;
}

::testing::AssertionResult SameBitsAs(const std::vector<float>& got,
                                      const std::vector<float>& want) {
  if (got.size() != want.size()) {
    return ::testing::AssertionFailure() << "sizes differ";
  }
  for (size_t i = 0; i < want.size(); ++i) {
    if (CanonicalBits(got[i]) == CanonicalBits(want[i])) continue;
    return ::testing::AssertionFailure()
           << "element " << i << ": " << got[i] << ", not " << want[i];
  }
  return ::testing::AssertionSuccess();
}

}  // namespace heed::test
