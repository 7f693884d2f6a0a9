// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Decoding on one machine with several memories: sequences are dealt to NUMA
// nodes, whose threads write their caches first, so that they have them in
// their own memory, and attend to them. The bits are those of one call for all.
#include <heed/heed.h>
#include <heed/tbb.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <thread>
#include <vector>

namespace {

constexpr int64_t kSequences = 6, kKeys = 6000;
constexpr int64_t kHeads = 8, kKvHeads = 2, kDim = 64;
constexpr int64_t kRow = kKvHeads * kDim;

// Memory that nobody has written: new float[n] leaves its pages untouched,
// where a std::vector would write zeros, and so place all of them on one node.
struct Cache {
  std::unique_ptr<float[]> key{new float[kKeys * kRow]};
  std::unique_ptr<float[]> value{new float[kKeys * kRow]};
};

// Stands for whatever makes keys and values.
void WriteRow(int64_t sequence, int64_t position, Cache* cache) {
  for (int64_t c = 0; c < kRow; ++c) {
    const auto x = static_cast<uint32_t>((sequence * kKeys + position) * kRow) +
                   static_cast<uint32_t>(c);
    const uint32_t hash = (x ^ (x >> 13)) * 0x9e3779b1u;
    cache->key[static_cast<size_t>(position * kRow + c)] =
        static_cast<float>(hash >> 16) / 32768.0f - 1.0f;
    cache->value[static_cast<size_t>(position * kRow + c)] =
        static_cast<float>(hash & 0xffff) / 32768.0f - 1.0f;
  }
}

// Writes a cache by the threads of an executor.
void Fill(const heed::Executor& node, int64_t sequence, Cache* cache) {
  struct Context {
    int64_t sequence;
    Cache* cache;
  } context = {sequence, cache};
  node.parallel_for(node.self, kKeys, &context,
                    [](void* ctx, int64_t position, int) {
                      const Context& c = *static_cast<const Context*>(ctx);
                      WriteRow(c.sequence, position, c.cache);
                    });
}

// A sequence of one new row, q and out of [sequence][head][dim].
heed::Status Decode(const heed::Executor& threads, const float* q,
                    const Cache& cache, float* out) {
  heed::AttentionArgs args;
  args.query = heed::Thd(q, 1, kHeads, kDim);
  args.key = heed::Thd<const float>(cache.key.get(), kKeys, kKvHeads, kDim);
  args.value = heed::Thd<const float>(cache.value.get(), kKeys, kKvHeads, kDim);
  args.out = heed::Thd(out, 1, kHeads, kDim);
  return heed::Attention({}, args, threads);
}

}  // namespace

int main() {
  std::vector<float> q(kSequences * kHeads * kDim);
  for (size_t i = 0; i < q.size(); ++i) {
    q[i] = static_cast<float>(i % 37) / 18.0f - 1.0f;
  }
  std::vector<Cache> caches(kSequences);
  std::vector<float> out(q.size()), whole(q.size());

  // A thread a node calls heed; its executor's other threads are oneTBB's, on
  // the same node.
  const int nodes = heed::NumNumaNodes();
  std::vector<heed::Status> statuses(static_cast<size_t>(kSequences));
  std::vector<std::thread> callers;
  for (int node = 0; node < nodes; ++node) {
    callers.emplace_back([&, node] {
      const heed::TbbExecutor threads(0, node);
      for (int64_t s = node; s < kSequences; s += nodes) {
        const size_t i = static_cast<size_t>(s);
        Fill(threads, s, &caches[i]);
        statuses[i] = Decode(threads, &q[i * kHeads * kDim], caches[i],
                             &out[i * kHeads * kDim]);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();

  for (int64_t s = 0; s < kSequences; ++s) {
    const size_t i = static_cast<size_t>(s);
    if (statuses[i].ok()) {
      statuses[i] = Decode(heed::SerialExecutor(), &q[i * kHeads * kDim],
                           caches[i], &whole[i * kHeads * kDim]);
    }
    if (!statuses[i].ok()) {
      std::fprintf(stderr, "%s\n", heed::ToString(statuses[i]).c_str());
      return 1;
    }
  }
  const bool same = out == whole;
  std::printf("%d NUMA nodes: %s\n", nodes,
              same ? "the same bits" : "other bits");
  return same ? 0 : 1;
}
