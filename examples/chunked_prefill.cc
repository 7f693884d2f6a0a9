// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A prompt that arrives in chunks, and then tokens one by one: each attends to
// the cache so far. One plan serves all of it, and what comes out has the bits
// of the whole prompt in one call.
#include <heed/heed.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

namespace {

constexpr int64_t kTokens = 1000, kHeads = 6, kKvHeads = 2, kDim = 64;

std::vector<float> Random(int64_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> numbers(static_cast<size_t>(count));
  for (float& x : numbers) x = normal(generator);
  return numbers;
}

void Check(const heed::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", heed::ToString(status).c_str());
  std::exit(1);
}

}  // namespace

int main() {
  const std::vector<float> q = Random(kTokens * kHeads * kDim, 1);
  const std::vector<float> k = Random(kTokens * kKvHeads * kDim, 2);
  const std::vector<float> v = Random(kTokens * kKvHeads * kDim, 3);
  std::vector<float> whole(q.size()), chunked(q.size());

  heed::AttentionParams params;
  params.causal = true;  // the last query row sees the last key
  heed::AttentionArgs prompt;
  prompt.query = heed::Thd(q.data(), kTokens, kHeads, kDim);
  prompt.key = heed::Thd(k.data(), kTokens, kKvHeads, kDim);
  prompt.value = heed::Thd(v.data(), kTokens, kKvHeads, kDim);
  prompt.out = heed::Thd(whole.data(), kTokens, kHeads, kDim);

  // The plan's extents are the largest; calls may be smaller.
  heed::Plan plan;
  Check(heed::MakePlan(params, heed::ShapeOf(prompt), {}, &plan));
  heed::Workspace workspace;
  workspace.bytes = heed::WorkspaceBytes(plan, 1);
  const size_t rounded = (workspace.bytes + heed::kWorkspaceAlignment - 1) /
                         heed::kWorkspaceAlignment * heed::kWorkspaceAlignment;
  const std::unique_ptr<void, void (*)(void*)> memory(
      std::aligned_alloc(heed::kWorkspaceAlignment, rounded), &std::free);
  workspace.data = memory.get();
  Check(heed::Run(plan, prompt, workspace, heed::SerialExecutor()));

  heed::AttentionArgs chunk = prompt;
  int64_t done = 0;
  int calls = 0;
  while (done < kTokens) {
    const int64_t tokens = done < 960 ? std::min<int64_t>(256, 960 - done) : 1;
    chunk.query = heed::TokensOf(prompt.query, done, tokens);
    chunk.key = heed::TokensOf(prompt.key, 0, done + tokens);
    chunk.value = heed::TokensOf(prompt.value, 0, done + tokens);
    chunk.out = heed::TokensOf(heed::Thd(chunked.data(), kTokens, kHeads, kDim),
                               done, tokens);
    Check(heed::Run(plan, chunk, workspace, heed::SerialExecutor()));
    done += tokens;
    ++calls;
  }
  const bool same = chunked == whole;
  std::printf("%d calls instead of one: %s\n", calls,
              same ? "the same bits" : "other bits");
  return same ? 0 : 1;
}
