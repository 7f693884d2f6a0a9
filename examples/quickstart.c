// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The smallest program in C: causal attention of 4 heads on 2 key heads, by the
// one-shot call, and a call that is refused.
#include <heed/heed_c.h>
#include <math.h>
#include <stdio.h>

enum { kSeqlen = 100, kHeads = 4, kKvHeads = 2, kDim = 16 };

static float query[kSeqlen * kHeads * kDim];
static float key[kSeqlen * kKvHeads * kDim];
static float value[kSeqlen * kKvHeads * kDim];
static float out[kSeqlen * kHeads * kDim];

int main(void) {
  // Scores are all 0, so a row becomes the mean of the values that it sees: of
  // 0, 1, ..., i for row i.
  for (int i = 0; i < kSeqlen * kKvHeads * kDim; ++i) {
    value[i] = (float)(i / (kKvHeads * kDim));
  }

  heed_attention_params params;  // what is computed
  heed_attention_params_init(&params, sizeof(params));
  params.causal = 1;

  heed_attention_args args = {.struct_size =
                                  sizeof(args)};  // all else is absent
  args.query = heed_bshd(query, HEED_F32, 1, kSeqlen, kHeads, kDim);
  args.key = heed_bshd(key, HEED_F32, 1, kSeqlen, kKvHeads, kDim);
  args.value = heed_bshd(value, HEED_F32, 1, kSeqlen, kKvHeads, kDim);
  args.out = heed_bshd(out, HEED_F32, 1, kSeqlen, kHeads, kDim);

  heed_status status = {.struct_size = sizeof(status)};
  char text[256];
  if (heed_attention(&params, &args, NULL, &status) != HEED_OK) {
    heed_status_text(&status, text, sizeof(text));
    fprintf(stderr, "%s\n", text);
    return 1;
  }
  for (int i = 0; i < kSeqlen * kHeads * kDim; ++i) {
    const float row = (float)(i / (kHeads * kDim));
    if (fabsf(out[i] - row / 2) > 1e-4f) {
      fprintf(stderr, "out[%d] = %g, not %g\n", i, out[i], row / 2);
      return 1;
    }
  }
  printf("the last row is %g\n", out[kSeqlen * kHeads * kDim - 1]);

  // What is wrong is named, and nothing is written.
  params.window_left = -2;
  if (heed_attention(&params, &args, NULL, &status) != HEED_INVALID_ARGUMENT) {
    return 1;
  }
  heed_status_text(&status, text, sizeof(text));
  printf("refused: %s\n", text);
  return 0;
}
