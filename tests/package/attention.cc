// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A user's smallest program: attention with zero scores is the mean of the
// values, and lse the logarithm of their number.
#include <heed/heed.h>

#include <cmath>
#include <cstdio>

int main() {
  const float query[3] = {0, 0, 0};
  const float key[6] = {1, 2, 3, 4, 5, 6};
  const float value[4] = {1, 10, 3, 30};
  float out[2] = {-1, -1};
  float lse[1] = {-1};

  heed::AttentionParams params;
  heed::AttentionArgs args;
  args.query = heed::Bshd(query, 1, 1, 1, 3);
  args.key = heed::Bshd(key, 1, 2, 1, 3);
  args.value = heed::Bshd(value, 1, 2, 1, 2);
  args.out = heed::Bshd(out, 1, 1, 1, 2);
  args.lse = heed::Bhs(lse, 1, 1, 1);
  const heed::Status status = heed::Attention(params, args);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", heed::ToString(status).c_str());
    return 1;
  }
  std::printf("out = %g %g, lse = %g\n", out[0], out[1], lse[0]);
  return out[0] == 2 && out[1] == 20 && std::fabs(lse[0] - 0.693147f) < 1e-6f
             ? 0
             : 1;
}
