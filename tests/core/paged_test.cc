// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Keys and values in pages: the bits of contiguous ones, whatever the page size
// and the layout of the pool, and nothing read that no sequence has.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/oracle/oracle.h"
#include "tests/support/compare.h"
#include "tests/support/guard.h"
#include "tests/support/quick.h"
#include "tests/support/ragged_case.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

class PagedTest : public OnEveryTarget {};

const std::vector<SequenceLengths> kMixed = {
    {1, 1}, {70, 70}, {1, 133}, {0, 50}, {23, 90}, {1, 0}, {5, 300}, {3, 64}};

RaggedLayout InPagesOf(int64_t page_size) {
  RaggedLayout layout;
  layout.page_size = page_size;
  return layout;
}

TEST_P(PagedTest, EveryPageSizeAndPool) {
  for (const int64_t page_size : {1, 3, 16, 64, 100, 128, 1000}) {
    for (const eval::Layout keys :
         {eval::Layout::kBshd, eval::Layout::kBhsd, eval::Layout::kPadded}) {
      for (const bool interleaved : {false, true}) {
        RaggedLayout layout = InPagesOf(page_size);
        layout.keys = keys;
        layout.interleaved = interleaved;
        for (const bool pointers : {false, true}) {
          layout.pointers = pointers;
          const RaggedCase paged("h4_kv2_d16_q1_k1_causal", kMixed, layout);
          paged.Check(GetParam(), 1);
          if (page_size == 16) paged.Check(GetParam(), 3);
        }
      }
    }
  }
}

TEST_P(PagedTest, EveryMask) {
  for (const char* problem :
       {"h3_kv1_d7_dv5_q1_k1", "h8_kv1_d33_q1_k1_causal_wl40_sink3",
        "h2_d64_q1_k1_wl9_wr2_sink4", "h6_kv2_d24_q1_k1_cap5_causal"}) {
    for (const int64_t page_size : {1, 16}) {
      const RaggedCase paged(problem, kMixed, InPagesOf(page_size));
      paged.Check(GetParam(), 2);
    }
  }
}

TEST_P(PagedTest, EveryType) {
  for (const char* types :
       {"bf16", "f16", "bf16_kvi8", "kvu4", "bf16_kve4m3", "kve5m2_rot"}) {
    for (const int64_t page_size : {1, 16, 64}) {
      RaggedLayout layout = InPagesOf(page_size);
      layout.keys = page_size == 16 ? eval::Layout::kBhsd : eval::Layout::kBshd;
      for (const bool pointers : {false, true}) {
        layout.pointers = pointers;
        const RaggedCase paged(std::string("h4_kv2_d32_q1_k1_causal_") + types,
                               kMixed, layout);
        paged.Check(GetParam(), 2);
      }
    }
  }
}

TEST_P(PagedTest, BatchesOfSingleTokens) {
  RaggedLayout layout = InPagesOf(16);
  layout.packed_rows = false;
  const RaggedCase paged("h8_kv2_d64_q1_k1_causal",
                         {{1, 40}, {1, 200}, {1, 0}, {1, 16}}, layout);
  for (const int workers : {1, 3}) paged.Check(GetParam(), workers);
}

TEST_P(PagedTest, SpansOverWorkers) {
  const std::vector<SequenceLengths> lengths = {
      {1, 9000}, {3, 40}, {2, 4097}, {1, Quick() ? 12300 : 70000}};
  for (const int64_t page_size : {1, 16, 5000}) {
    for (const char* problem :
         {"h2_kv1_d2_q1_k1_causal", "h1_d4_q1_k1_causal_wl5000_sink9"}) {
      RaggedLayout layout = InPagesOf(page_size);
      layout.pointers = page_size == 16;
      const RaggedCase paged(problem, lengths, layout);
      for (const int workers : {1, 3, 8}) {
        paged.Check(GetParam(), workers, true);
        paged.Check(GetParam(), workers, false);
      }
    }
  }
}

// Two sequences that begin with the same pages, and one whose pages are all the
// same.
TEST_P(PagedTest, PagesMayBeShared) {
  RaggedCase paged("h2_kv1_d16_q1_k1_causal", {{1, 90}, {7, 90}, {1, 64}},
                   InPagesOf(16));
  const auto entry = [&](int64_t s, int64_t page) -> int32_t& {
    return paged.page_table[static_cast<size_t>(s * paged.table_stride + page)];
  };
  for (int64_t page = 0; page < 4; ++page) {
    entry(1, page) = entry(0, page);
    entry(2, page) = entry(2, 0);
  }
  const eval::Tensor want_out = paged.MakeOut(), want_lse = paged.MakeLse();
  AttentionArgs args = paged.Args();
  RunConfig config;
  config.target = GetParam();
  ASSERT_TRUE(RunOn(config, paged.params(), args).ok());
  // The same out of contiguous memory.
  const AttentionArgs pools = args;
  for (int64_t s = 0; s < 3; ++s) {
    const int64_t keys = paged.seqlens_k[static_cast<size_t>(s)];
    const eval::Tensor key =
        eval::MakeTensor(1, keys, 1, 16, eval::Layout::kBshd);
    const eval::Tensor value =
        eval::MakeTensor(1, keys, 1, 16, eval::Layout::kBshd);
    for (int64_t i = 0; i < keys; ++i) {
      std::memcpy(key.At(0, i, 0),
                  RowAt(pools.key, entry(s, i / 16), i % 16, 0),
                  16 * sizeof(float));
      std::memcpy(value.At(0, i, 0),
                  RowAt(pools.value, entry(s, i / 16), i % 16, 0),
                  16 * sizeof(float));
    }
    AttentionArgs single = paged.Single(s, want_out, want_lse);
    single.key = key.view;
    single.value = value.view;
    ASSERT_TRUE(RunOn(config, paged.SingleParams(s), single).ok());
  }
  EXPECT_TRUE(SameBits(paged.out, want_out));
  EXPECT_TRUE(SameBits(paged.lse, want_lse));
}

// A scale of each head, the same in every page, beside pages that have
// pointers.
TEST_P(PagedTest, OneScaleForAllPages) {
  const std::vector<SequenceLengths> lengths = {{1, 20}, {3, 33}};
  RaggedLayout layout = InPagesOf(16);
  const RaggedCase pool("h4_kv2_d32_q1_k1_causal_kvi8", lengths, layout);
  layout.pointers = true;
  const RaggedCase pages("h4_kv2_d32_q1_k1_causal_kvi8", lengths, layout);
  const float scales[] = {0.01f, 0.03f};
  AttentionArgs want = pool.Args();
  want.kv_scales.key_scale =
      Strided(scales, want.key.batch(), 16, 2, 1, 0, 0, 1);
  want.kv_scales.value_scale = want.kv_scales.key_scale;
  AttentionArgs args = pages.Args();
  args.kv_scales.key_scale = Strided(scales, 1, 16, 2, 1, 0, 0, 1);
  args.kv_scales.value_scale = args.kv_scales.key_scale;
  args.pages.key_scale_pages = args.pages.value_scale_pages = nullptr;
  RunConfig config;
  config.target = GetParam();
  ASSERT_TRUE(RunOn(config, pool.params(), want).ok());
  ASSERT_TRUE(RunOn(config, pages.params(), args).ok());
  EXPECT_TRUE(SameBits(pages.out, pool.out));
  // And the page that defines the bits says so too.
  if (!HasSameBits(GetParam())) return;
  const eval::Tensor bits = pages.MakeOut();
  args.out = bits.view;
  args.lse = TensorView();
  oracle::AttentionBits(pages.params(), args);
  EXPECT_TRUE(SameBits(pages.out, bits));
}

// A prompt in one ragged paged call, and its last rows one token at a time in
// others, beside other sequences.
TEST_P(PagedTest, DecodeHasTheBitsOfPrefill) {
  const RaggedCase prompt("h4_kv2_d16_q1_k1_causal", {{100, 100}},
                          InPagesOf(16));
  prompt.Check(GetParam(), 1);
  for (const int64_t keys : {1, 64, 65, 99, 100}) {
    RaggedCase step("h4_kv2_d16_q1_k1_causal", {{1, keys}, {40, 77}},
                    InPagesOf(3));
    // The same numbers: those of a sequence do not depend on its length, but
    // the query row must be the prompt's.
    const AttentionArgs all = prompt.Args();
    const AttentionArgs args = step.Args();
    for (int64_t h = 0; h < 4; ++h) {
      std::memcpy(const_cast<float*>(RowAt(args.query, 0, 0, h)),
                  RowAt(all.query, 0, keys - 1, h), 16 * sizeof(float));
    }
    RunConfig config;
    config.target = GetParam();
    config.workers = 2;
    ASSERT_TRUE(RunOn(config, step.params(), args).ok());
    for (int64_t h = 0; h < 4; ++h) {
      for (int64_t c = 0; c < 16; ++c) {
        EXPECT_EQ(CanonicalBits(*step.out.At(0, 0, h, c)),
                  CanonicalBits(*prompt.out.At(0, keys - 1, h, c)));
      }
    }
  }
}

// Tables, sums and the last page of a pool end at pages that may not be read.
TEST_P(PagedTest, NothingIsReadBeyondAnEnd) {
  const std::vector<SequenceLengths> lengths = {{1, 17}, {20, 33}, {1, 48}};
  for (const Against end : {Against::kFront, Against::kBack}) {
    for (const int64_t page_size : {1, 16}) {
      SetGuardContext(GetParam() + ", pages of " + std::to_string(page_size));
      RaggedCase paged("h2_kv1_d9_q1_k1_causal", lengths, InPagesOf(page_size));
      AttentionArgs args = paged.Args();
      // The table ends with the last entry that is needed.
      args.pages.pages_per_sequence = 48 / page_size;
      const GuardedMemory key(1 << 16), value(1 << 16), table(1 << 16),
          sums(1 << 12), keys(1 << 12), offsets(1 << 12);
      const auto place = [end](const GuardedMemory& memory, const void* from,
                               size_t bytes) {
        char* at = memory.Place(bytes, end);
        std::memcpy(at, from, bytes);
        return at;
      };
      const auto place_view = [&](const GuardedMemory& memory,
                                  ConstTensorView* view) {
        const size_t bytes = static_cast<size_t>(view->batch()) *
                             static_cast<size_t>(view->stride[0]);
        view->data = place(memory, view->data, bytes);
      };
      place_view(key, &args.key);
      place_view(value, &args.value);
      const size_t entries = static_cast<size_t>(2 * paged.table_stride +
                                                 args.pages.pages_per_sequence);
      args.pages.page_table = reinterpret_cast<const int32_t*>(
          place(table, paged.page_table.data(), entries * sizeof(int32_t)));
      args.ragged.cu_seqlens_q = reinterpret_cast<const int32_t*>(
          place(sums, paged.cu_seqlens_q.data(), 4 * sizeof(int32_t)));
      args.ragged.seqlens_k = reinterpret_cast<const int32_t*>(
          place(keys, paged.seqlens_k.data(), 3 * sizeof(int32_t)));
      args.ragged.causal_offset = reinterpret_cast<const int64_t*>(
          place(offsets, paged.offsets.data(), 3 * sizeof(int64_t)));
      const eval::Tensor want_out = paged.MakeOut();
      const eval::Tensor want_lse = paged.MakeLse();
      RunConfig config;
      config.target = GetParam();
      for (int64_t s = 0; s < 3; ++s) {
        ASSERT_TRUE(RunOn(config, paged.SingleParams(s),
                          paged.Single(s, want_out, want_lse))
                        .ok());
      }
      ASSERT_TRUE(RunOn(config, paged.params(), args).ok());
      EXPECT_TRUE(SameBits(paged.out, want_out));
    }
  }
}

HEED_ON_EVERY_TARGET(PagedTest);

}  // namespace
}  // namespace heed::test
