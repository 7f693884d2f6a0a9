// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// AppendKv: the same cache however rows come, and nothing else touched.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "lib/oracle/element.h"
#include "tests/support/compare.h"
#include "tests/support/guard.h"
#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

constexpr DType kTypes[] = {DType::kF32, DType::kBF16,   DType::kF16,
                            DType::kI8,  DType::kF8E4M3, DType::kF8E5M2,
                            DType::kU4};
constexpr int64_t kSequences = 2, kCapacity = 11, kHeads = 3, kDim = 64;
constexpr int64_t kPageSize = 4, kPagesEach = 3, kPages = 7;

bool Quantised(DType dtype) {
  return dtype == DType::kI8 || dtype == DType::kF8E4M3 ||
         dtype == DType::kF8E5M2 || dtype == DType::kU4;
}

enum class Kind { kContiguous, kPool, kPointers };
constexpr Kind kKinds[] = {Kind::kContiguous, Kind::kPool, Kind::kPointers};

// Keys and values in a cache of one type, contiguous or in pages.
struct Cache {
  DType dtype;
  Kind kind;
  bool paged;
  eval::Tensor rows[2], scale[2], minimum[2];
  // Of the six in the order of Pages; an entry that is not needed is 1.
  std::vector<void*> pointers[6];
  // Each sequence's pages; 99 is never read.
  std::vector<int32_t> table = {5, 0, 3, 99, 1, 6, 4, 99};

  Cache(DType type, Kind where)
      : dtype(type), kind(where), paged(where != Kind::kContiguous) {
    const int64_t batch = paged ? kPages : kSequences;
    const int64_t seqlen = paged ? kPageSize : kCapacity;
    const auto layout = eval::Layout::kPadded;
    for (int i = 0; i < 2; ++i) {
      rows[i] = eval::MakeTensor(batch, seqlen, kHeads, kDim, layout, 0, dtype);
      const int64_t groups = dtype == DType::kU4 ? 2 : 1;
      if (Quantised(dtype)) {
        scale[i] = eval::MakeTensor(batch, seqlen, kHeads, groups, layout);
      }
      if (dtype == DType::kU4) {
        minimum[i] = eval::MakeTensor(batch, seqlen, kHeads, groups, layout);
      }
    }
    if (kind != Kind::kPointers) return;
    for (size_t i = 0; i < 6; ++i) {
      const TensorView view = TensorOf(i).view;
      for (const int32_t page : table) {
        pointers[i].push_back(page == 99 ? reinterpret_cast<void*>(uintptr_t{1})
                                         : internal::BytesAt(view, page, 0, 0));
      }
    }
  }
  const eval::Tensor& TensorOf(size_t i) const {
    // A pointer first: GCC 12 with a sanitizer takes [0] of a chosen array.
    const eval::Tensor* const pair = i < 2 ? rows : i < 4 ? scale : minimum;
    return pair[i % 2];
  }
  AppendArgs Args() const {
    AppendArgs args;
    args.key_cache = rows[0].view;
    args.value_cache = rows[1].view;
    args.key_scale = scale[0].view;
    args.value_scale = scale[1].view;
    args.key_minimum = minimum[0].view;
    args.value_minimum = minimum[1].view;
    args.num_sequences = kSequences;
    if (paged) args.pages = {table.data(), kSequences, kPagesEach, 4};
    if (kind == Kind::kPointers) UsePointers(&args);
    return args;
  }
  void UsePointers(AppendArgs* args) const {
    args->pages.page_table = nullptr;
    const std::pair<TensorView*, void* const**> all[] = {
        {&args->key_cache, &args->pages.key_pages},
        {&args->value_cache, &args->pages.value_pages},
        {&args->key_scale, &args->pages.key_scale_pages},
        {&args->value_scale, &args->pages.value_scale_pages},
        {&args->key_minimum, &args->pages.key_minimum_pages},
        {&args->value_minimum, &args->pages.value_minimum_pages}};
    for (size_t i = 0; i < 6; ++i) {
      const auto [view, array] = all[i];
      if (view->absent()) continue;
      view->data = nullptr;
      view->extent[0] = 1;
      *array = pointers[i].data();
    }
  }
  // The view of one sequence's position.
  TensorView At(TensorView view, int64_t s, int64_t position) const {
    if (view.absent()) return view;
    int64_t batch = s;
    if (paged) {
      batch = table[static_cast<size_t>(s * 4 + position / kPageSize)];
      position %= kPageSize;
    }
    view.data = static_cast<char*>(view.data) + batch * view.stride[0];
    view.extent[0] = 1;
    return TokensOf(view, position, 1);
  }
};

struct Given {
  eval::Tensor key, value;  // packed
  std::vector<float> cos, sin;
  std::vector<int32_t> cu = {0, 7, 12};
  std::vector<int32_t> past = {3, 0};
  Rope rope;

  explicit Given(DType dtype) {
    key =
        eval::MakeTensor(1, 12, kHeads, kDim, eval::Layout::kPadded, 0, dtype);
    value =
        eval::MakeTensor(1, 12, kHeads, kDim, eval::Layout::kBhsd, 0, dtype);
    eval::FillTensor(key, 1, eval::Fill::kNormal, 5);
    eval::FillTensor(value, 2, eval::Fill::kNormal, 5);
    std::vector<double> frequency(20);
    cos.resize(20 * 16);
    sin.resize(20 * 16);
    EXPECT_TRUE(RopeFrequencies(1e4, 40, frequency.data()).ok());
    EXPECT_TRUE(
        FillRopeTables(frequency.data(), 40, 0, 16, cos.data(), sin.data())
            .ok());
    rope = {40, false, 16, cos.data(), sin.data()};
  }
  AppendArgs Args(const Cache& cache) const {
    AppendArgs args = cache.Args();
    args.key = key.view;
    args.value = value.view;
    args.cu_seqlens = cu.data();
    args.past_lengths = past.data();
    args.rope = rope;
    args.key_rotated = true;
    return args;
  }
};

// The bytes of a row.
std::string BytesOfRow(const TensorView& view, int64_t h) {
  if (view.absent()) return "";
  return std::string(internal::BytesAt(view, 0, 0, h),
                     static_cast<size_t>(BytesOf(view.dtype, view.head_dim())));
}

// Every row is what ApplyRope, QuantizeKv and the conversions make of it one by
// one, and no other place was written.
void ExpectRight(const Given& given, const Cache& cache,
                 const AppendArgs& args) {
  const Cache fresh(cache.dtype, cache.kind);
  for (int64_t s = 0; s < kSequences; ++s) {
    for (int64_t p = 0; p < kCapacity; ++p) {
      const int64_t first = given.cu[static_cast<size_t>(s)];
      const int64_t i = p - given.past[static_cast<size_t>(s)];
      const bool written =
          i >= 0 && first + i < given.cu[static_cast<size_t>(s + 1)];
      for (int half = 0; half < 2; ++half) {
        TensorView want = fresh.At(fresh.rows[half].view, s, p);
        const TensorView scale = fresh.At(fresh.scale[half].view, s, p);
        const TensorView minimum = fresh.At(fresh.minimum[half].view, s, p);
        if (written) {
          const eval::Tensor row =
              eval::MakeTensor(1, 1, kHeads, kDim, eval::Layout::kBshd);
          const int32_t position = static_cast<int32_t>(p);
          ASSERT_TRUE(
              ApplyRope(
                  TokensOf(half == 0 ? args.key : args.value, first + i, 1),
                  &position, half == 0 ? given.rope : Rope(), row.view)
                  .ok());
          if (Quantised(cache.dtype)) {
            QuantizeOptions options;
            options.rotate = half == 0 && args.key_rotated;
            ASSERT_TRUE(
                QuantizeKv(row.view, options, want, scale, minimum).ok());
          } else {
            ASSERT_TRUE(ApplyRope(row.view, nullptr, Rope(), want).ok());
          }
        }
        for (int64_t h = 0; h < kHeads; ++h) {
          ASSERT_EQ(BytesOfRow(cache.At(cache.rows[half].view, s, p), h),
                    BytesOfRow(want, h))
              << NameOf(cache.dtype) << " " << s << " " << p << " " << half;
          ASSERT_EQ(BytesOfRow(cache.At(cache.scale[half].view, s, p), h),
                    BytesOfRow(scale, h));
          ASSERT_EQ(BytesOfRow(cache.At(cache.minimum[half].view, s, p), h),
                    BytesOfRow(minimum, h));
        }
      }
    }
  }
  for (int half = 0; half < 2; ++half) {
    EXPECT_TRUE(cache.rows[half].PaddingIntact());
  }
}

TEST(AppendKv, IsRopeThenQuantize) {
  for (const DType from : {DType::kF32, DType::kBF16, DType::kF16}) {
    const Given given(from);
    for (const DType dtype : kTypes) {
      for (const Kind kind : kKinds) {
        for (const int workers : {1, 3}) {
          const Cache cache(dtype, kind);
          AppendArgs args = given.Args(cache);
          args.key_rotated = Quantised(dtype);
          const Status status = AppendKv(args, ThreadExecutor(workers));
          ASSERT_TRUE(status.ok()) << ToString(status);
          ExpectRight(given, cache, args);
        }
      }
    }
  }
}

// Token by token and batch by batch is the same as at once.
TEST(AppendKv, TokenByToken) {
  for (const DType dtype : kTypes) {
    for (const Kind kind : kKinds) {
      Given given(DType::kF32);
      const Cache cache(dtype, kind);
      AppendArgs args = given.Args(cache);
      args.key_rotated = Quantised(dtype);
      for (int32_t i = 0; i < 7; ++i) {
        // Sequence 1 ends two rows sooner.
        const std::vector<int32_t> past = {3 + i, i};
        args.past_lengths = past.data();
        const int64_t count = i < 5 ? 2 : 1;
        const eval::Tensor rows[2] = {
            eval::MakeTensor(1, count, kHeads, kDim, eval::Layout::kBshd),
            eval::MakeTensor(1, count, kHeads, kDim, eval::Layout::kBshd)};
        for (int64_t r = 0; r < count; ++r) {
          for (int64_t h = 0; h < kHeads; ++h) {
            for (int half = 0; half < 2; ++half) {
              const eval::Tensor& from = half == 0 ? given.key : given.value;
              std::copy_n(from.At(0, r == 0 ? i : 7 + i, h), kDim,
                          rows[half].At(0, r, h));
            }
          }
        }
        args.key = rows[0].view;
        args.value = rows[1].view;
        const std::vector<int32_t> cu = {0, 1, static_cast<int32_t>(count)};
        args.cu_seqlens = cu.data();
        const Status status = AppendKv(args);
        ASSERT_TRUE(status.ok()) << ToString(status);
      }
      args.key = given.key.view;
      args.value = given.value.view;
      ExpectRight(given, cache, args);
    }
  }
}

// Dense batches, one half alone, positions of the caller's.
TEST(AppendKv, DenseKeysAlone) {
  const Given given(DType::kF32);
  const Cache cache(DType::kF16, Kind::kPool);
  const Cache packed(DType::kF16, Kind::kPool);
  AppendArgs args = given.Args(packed);
  args.key_rotated = false;
  args.value = ConstTensorView();
  args.value_cache = TensorView();
  const std::vector<int32_t> cu = {0, 6, 12};
  args.cu_seqlens = cu.data();
  ASSERT_TRUE(AppendKv(args).ok());
  args.key_cache = cache.rows[0].view;
  args.cu_seqlens = nullptr;
  args.key.extent[0] = 2;
  args.key.extent[1] = 6;
  args.key.stride[0] = 6 * args.key.stride[1];
  const std::vector<int32_t> positions = {3, 4, 5, 6, 7, 8, 0, 1, 2, 3, 4, 5};
  args.rope_positions = positions.data();
  const Status status = AppendKv(args);
  ASSERT_TRUE(status.ok()) << ToString(status);
  // By bytes: what was not written is NaN.
  const std::vector<float> got = cache.rows[0].Dense();
  EXPECT_EQ(std::memcmp(got.data(), packed.rows[0].Dense().data(),
                        got.size() * sizeof(float)),
            0);
  EXPECT_TRUE(Untouched(cache.rows[1]));
}

// Keys beside values in one pool, and an fp8 scale of the whole tensor.
TEST(AppendKv, OnePoolAndGivenScales) {
  const Given given(DType::kF32);
  const Cache cache(DType::kF8E4M3, Kind::kPool);
  std::vector<f8_e4m3> pool(
      static_cast<size_t>(kPages * kPageSize * kHeads * 2 * kDim));
  AppendArgs args = given.Args(cache);
  float scale = 0.02f;
  args.given_scales = true;
  args.key_scale = Strided(&scale, kPages, kPageSize, kHeads, 1, 0, 0, 0);
  args.value_scale = args.key_scale;
  ASSERT_TRUE(AppendKv(args).ok());
  const int64_t row = kHeads * 2 * kDim;
  args.key_cache = Strided(pool.data(), kPages, kPageSize, kHeads, kDim,
                           kPageSize * row, row, 2 * kDim);
  args.value_cache = args.key_cache;
  args.value_cache.data = pool.data() + kDim;
  const Status status = AppendKv(args);
  ASSERT_TRUE(status.ok()) << ToString(status);
  for (const int32_t page : {5, 1}) {
    for (int64_t c = 0; c < kDim; ++c) {
      ASSERT_EQ(oracle::ElementAt(args.key_cache, page, 3, 2, c),
                oracle::ElementAt(cache.rows[0].view, page, 3, 2, c));
      ASSERT_EQ(oracle::ElementAt(args.value_cache, page, 3, 2, c),
                oracle::ElementAt(cache.rows[1].view, page, 3, 2, c));
    }
  }
}

// Keys beside values in blocks, one scale for all pages.
TEST(AppendKv, BlocksAndGivenScales) {
  const Given given(DType::kF32);
  const Cache cache(DType::kF8E4M3, Kind::kPool);
  AppendArgs args = given.Args(cache);
  float scale = 0.02f;
  args.given_scales = true;
  args.key_scale = Strided(&scale, kPages, kPageSize, kHeads, 1, 0, 0, 0);
  args.value_scale = args.key_scale;
  ASSERT_TRUE(AppendKv(args).ok());
  const int64_t row = kHeads * 2 * kDim;
  std::vector<f8_e4m3> blocks(static_cast<size_t>(kPages * kPageSize * row));
  std::vector<void*> keys, values;
  for (const int32_t page : cache.table) {
    f8_e4m3* const block = blocks.data() + page % kPages * kPageSize * row;
    keys.push_back(page == 99 ? nullptr : block);
    values.push_back(page == 99 ? nullptr : block + kDim);
  }
  args.pages.page_table = nullptr;
  args.pages.key_pages = keys.data();
  args.pages.value_pages = values.data();
  args.key_scale.extent[0] = args.value_scale.extent[0] = 1;
  args.key_cache =
      Strided<f8_e4m3>(nullptr, 1, kPageSize, kHeads, kDim, 0, row, 2 * kDim);
  args.value_cache = args.key_cache;
  const Status status = AppendKv(args);
  ASSERT_TRUE(status.ok()) << ToString(status);
  for (const int32_t page : {5, 1}) {
    TensorView key = args.key_cache, value = args.value_cache;
    key.data = blocks.data() + page * kPageSize * row;
    value.data = blocks.data() + page * kPageSize * row + kDim;
    for (int64_t c = 0; c < kDim; ++c) {
      ASSERT_EQ(oracle::ElementAt(key, 0, 3, 2, c),
                oracle::ElementAt(cache.rows[0].view, page, 3, 2, c));
      ASSERT_EQ(oracle::ElementAt(value, 0, 3, 2, c),
                oracle::ElementAt(cache.rows[1].view, page, 3, 2, c));
    }
  }
}

// One token against guard pages on either side, the last place of a cache.
TEST(AppendKv, TouchesNothingElse) {
  const GuardedMemory from(4096), rows(8192), scales(4096), past_at(4096);
  for (const DType dtype : kTypes) {
    for (const Against end : {Against::kFront, Against::kBack}) {
      SetGuardContext(std::string("AppendKv to ") + NameOf(dtype));
      const int64_t dim = dtype == DType::kU4 ? 32 : 13;
      const size_t floats = static_cast<size_t>(dim);
      float* const key = reinterpret_cast<float*>(from.Place(4 * floats, end));
      std::fill_n(key, dim, 1.5f);
      int32_t* const past = reinterpret_cast<int32_t*>(past_at.Place(4, end));
      *past = 2;
      AppendArgs args;
      args.past_lengths = past;
      args.num_sequences = 1;
      args.key = Bshd<const float>(key, 1, 1, 1, dim);
      args.key_cache =
          eval::MakeTensor(1, 3, 1, dim, eval::Layout::kBshd, 0, dtype).view;
      args.key_cache.data =
          rows.Place(static_cast<size_t>(3 * BytesOf(dtype, dim)), end);
      float* const scale = reinterpret_cast<float*>(scales.Place(24, end));
      if (Quantised(dtype)) {
        args.key_scale = Strided(scale, 1, 3, 1, 1, 6, 2, 1);
        args.key_rotated = true;
      }
      if (dtype == DType::kU4) {
        args.key_minimum = args.key_scale;
        args.key_minimum.data = scale + 1;
      }
      const Status status = AppendKv(args);
      ASSERT_TRUE(status.ok()) << ToString(status);
    }
  }
}

// What was appended attends as the tensors it came from.
TEST(AppendKv, ThenAttends) {
  const Given given(DType::kF32);
  const eval::Tensor caches[2] = {
      eval::MakeTensor(1, 20, kHeads, kDim, eval::Layout::kPadded),
      eval::MakeTensor(1, 20, kHeads, kDim, eval::Layout::kPadded)};
  AppendArgs append;
  append.num_sequences = 1;
  append.key_cache = caches[0].view;
  append.value_cache = caches[1].view;
  for (int32_t i = 0; i < 12; ++i) {
    append.past_lengths = &i;
    append.key = TokensOf<const void>(given.key.view, i, 1);
    append.value = TokensOf<const void>(given.value.view, i, 1);
    ASSERT_TRUE(AppendKv(append).ok());
  }
  const eval::Tensor query = Given(DType::kF32).value;
  const eval::Tensor out[2] = {
      eval::MakeTensor(1, 12, kHeads, kDim, eval::Layout::kBshd),
      eval::MakeTensor(1, 12, kHeads, kDim, eval::Layout::kBshd)};
  AttentionParams params;
  params.causal = true;
  AttentionArgs args;
  args.query = query.view;
  args.key = given.key.view;
  args.value = given.value.view;
  args.out = out[0].view;
  ASSERT_TRUE(Attention(params, args).ok());
  args.key = TokensOf<const void>(caches[0].view, 0, 12);
  args.value = TokensOf<const void>(caches[1].view, 0, 12);
  args.out = out[1].view;
  ASSERT_TRUE(Attention(params, args).ok());
  EXPECT_TRUE(SameBits(out[1], out[0]));
}

}  // namespace
}  // namespace heed::test
