// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The smallest program of a user in C: attention with zero scores is the mean
// of the values.
#include <heed/heed_c.h>
#include <stdio.h>

int main(void) {
  const float query[3] = {0, 0, 0};
  const float key[6] = {1, 2, 3, 4, 5, 6};
  const float value[4] = {1, 10, 3, 30};
  float out[2] = {-1, -1};

  heed_attention_params params;
  heed_attention_params_init(&params, sizeof(params));
  heed_attention_args args = {.struct_size = sizeof(args)};
  args.query = heed_bshd(query, HEED_F32, 1, 1, 1, 3);
  args.key = heed_bshd(key, HEED_F32, 1, 2, 1, 3);
  args.value = heed_bshd(value, HEED_F32, 1, 2, 1, 2);
  args.out = heed_bshd(out, HEED_F32, 1, 1, 1, 2);
  heed_status status = {.struct_size = sizeof(status)};
  if (heed_attention(&params, &args, NULL, &status) != HEED_OK) {
    char text[256];
    heed_status_text(&status, text, sizeof(text));
    fprintf(stderr, "%s\n", text);
    return 1;
  }
  printf("out = %g %g\n", out[0], out[1]);
  return out[0] == 2 && out[1] == 20 ? 0 : 1;
}
