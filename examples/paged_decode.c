// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A decode loop of several sequences on a cache in pages, as engines keep it:
// each step adds a token to every sequence, takes a free page where one is
// full, and attends with all sequences in one call. Every step has the bits of
// a call on keys that lie contiguous.
#include <heed/heed_c.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  kSequences = 3,
  kHeads = 8,
  kKvHeads = 2,
  kDim = 64,
  kPageSize = 16,
  kPages = 64,
  kTableWidth = 12,  // pages that a sequence has at most
  kMaxKeys = kTableWidth * kPageSize,
  kSteps = 90,
  kRow = kKvHeads * kDim
};

// The cache: keys and values side by side in each page.
static float pool[kPages][2][kPageSize][kKvHeads][kDim];
static int32_t page_table[kSequences][kTableWidth];
static int32_t lengths[kSequences] = {1, 40, 77};  // some were there before
static int32_t free_pages[kPages], num_free;

// The same keys and values, contiguous: only to compare with.
static float flat_key[kSequences][kMaxKeys][kRow];
static float flat_value[kSequences][kMaxKeys][kRow];

static float query[kSequences][kHeads][kDim];
static float out[kSequences][kHeads][kDim], flat_out[kHeads][kDim];

static uint32_t seed = 1;
static float random_float(void) {
  seed = seed * 1664525u + 1013904223u;
  return (float)(seed >> 8) / 8388608.0f - 1.0f;
}

// Writes a token's keys and values into the page that has its place.
static void append(int s, int32_t position) {
  if (position % kPageSize == 0) {
    page_table[s][position / kPageSize] = free_pages[--num_free];
  }
  const int32_t page = page_table[s][position / kPageSize];
  float* key = &pool[page][0][position % kPageSize][0][0];
  float* value = &pool[page][1][position % kPageSize][0][0];
  for (int i = 0; i < kRow; ++i) {
    flat_key[s][position][i] = key[i] = random_float();
    flat_value[s][position][i] = value[i] = random_float();
  }
}

static int check(int32_t code, const heed_status* status) {
  char text[256];
  if (code == HEED_OK) return 1;
  heed_status_text(status, text, sizeof(text));
  fprintf(stderr, "%s\n", text);
  return 0;
}

// Attends from one sequence's query to its contiguous keys.
static int attend_flat(const heed_attention_params* params, int s) {
  heed_status status = {.struct_size = sizeof(status)};
  heed_attention_args args = {.struct_size = sizeof(args)};
  args.query = heed_thd(query[s], HEED_F32, 1, kHeads, kDim);
  args.key = heed_thd(flat_key[s], HEED_F32, lengths[s], kKvHeads, kDim);
  args.value = heed_thd(flat_value[s], HEED_F32, lengths[s], kKvHeads, kDim);
  args.out = heed_thd(flat_out, HEED_F32, 1, kHeads, kDim);
  return check(heed_attention(params, &args, NULL, &status), &status);
}

int main(void) {
  // Pages are handed out from the end, entries that nothing stands at are
  // poison: neither is ever read.
  for (int32_t i = 0; i < kPages; ++i) free_pages[num_free++] = i * 37 % kPages;
  memset(page_table, 0x7f, sizeof(page_table));
  memset(pool, 0xff, sizeof(pool));  // NaN
  for (int s = 0; s < kSequences; ++s) {
    for (int32_t i = 0; i < lengths[s]; ++i) append(s, i);
  }

  heed_attention_params params;
  heed_attention_params_init(&params, sizeof(params));
  params.causal = 1;
  const heed_ragged ragged = {.struct_size = sizeof(ragged),
                              .num_sequences = kSequences,
                              .seqlens_k = lengths};
  const heed_pages pages = {.struct_size = sizeof(pages),
                            .page_table = &page_table[0][0],
                            .num_sequences = kSequences,
                            .pages_per_sequence = kTableWidth,
                            .table_stride = kTableWidth};
  heed_attention_args args = {.struct_size = sizeof(args)};
  args.query = heed_bshd(query, HEED_F32, kSequences, 1, kHeads, kDim);
  args.key = heed_bshd(pool[0][0], HEED_F32, kPages, kPageSize, kKvHeads, kDim);
  args.value =
      heed_bshd(pool[0][1], HEED_F32, kPages, kPageSize, kKvHeads, kDim);
  args.key.stride[0] = args.value.stride[0] = sizeof(pool[0]);
  args.out = heed_bshd(out, HEED_F32, kSequences, 1, kHeads, kDim);
  args.ragged = &ragged;
  args.pages = &pages;

  // One plan and one workspace for all steps: the shape's extents are the most.
  heed_status status = {.struct_size = sizeof(status)};
  heed_attention_shape shape = {.struct_size = sizeof(shape)};
  heed_plan* plan = malloc(heed_plan_bytes());
  uint64_t bytes = 0;
  if (plan == NULL || !check(heed_shape_of(&args, &shape, &status), &status) ||
      !check(heed_make_plan(&params, &shape, NULL, plan, heed_plan_bytes(),
                            &status),
             &status) ||
      !check(heed_workspace_bytes(plan, 1, &bytes, &status), &status)) {
    return 1;
  }
  const uint64_t alignment = heed_workspace_alignment();
  char* memory = malloc(bytes + alignment);
  if (memory == NULL) return 1;
  void* workspace = memory + (alignment - (uintptr_t)memory % alignment);

  int good = 1;
  for (int step = 0; good && step < kSteps; ++step) {
    for (int s = 0; s < kSequences; ++s) {
      append(s, lengths[s]++);
      float* row = &query[s][0][0];
      for (int i = 0; i < kHeads * kDim; ++i) row[i] = random_float();
    }
    good = check(heed_run_plan(plan, &args, workspace, bytes, NULL, &status),
                 &status);
    for (int s = 0; good && s < kSequences; ++s) {
      good = attend_flat(&params, s);
      if (good && memcmp(out[s], flat_out, sizeof(flat_out)) != 0) {
        fprintf(stderr, "step %d, sequence %d: other bits\n", step, s);
        good = 0;
      }
    }
  }
  if (good) {
    printf("%d steps of %d sequences, %d pages left: the same bits\n", kSteps,
           kSequences, (int)num_free);
  }
  free(memory);
  free(plan);
  return good ? 0 : 1;
}
