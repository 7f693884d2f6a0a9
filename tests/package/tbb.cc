// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The oneTBB executor, as a user of heed::tbb calls it.
#include <heed/heed.h>
#include <heed/tbb.h>

#include <cstdio>
#include <vector>

int main() {
  const int n = 100;
  const std::vector<float> zero(n, 0.0f);
  const std::vector<float> value(n, 2.0f);
  std::vector<float> out(n, -1.0f);

  heed::AttentionParams params;
  params.causal = true;
  heed::AttentionArgs args;
  args.query = heed::Bshd(zero.data(), 1, n, 1, 1);
  args.key = heed::Bshd(zero.data(), 1, n, 1, 1);
  args.value = heed::Bshd(value.data(), 1, n, 1, 1);
  args.out = heed::Bshd(out.data(), 1, n, 1, 1);
  const heed::TbbExecutor executor(2);
  const heed::Status status = heed::Attention(params, args, executor);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", heed::ToString(status).c_str());
    return 1;
  }
  for (float x : out) {
    if (x != 2.0f) return 1;
  }
  return 0;
}
