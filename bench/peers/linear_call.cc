// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Scans as functions that Python's ctypes can call: see linear_peers.py.
#include <cstdlib>
#include <memory>

#include "heed/heed.h"
#include "heed/linear.h"
#include "heed/tbb.h"

namespace {

struct Freed {
  void operator()(void* memory) const { std::free(memory); }
};

struct Call {
  heed::ScanPlan plan;
  heed::ScanArgs args;
  std::unique_ptr<heed::TbbExecutor> threads;
  std::unique_ptr<void, Freed> memory;
  heed::Workspace workspace;
};

}  // namespace

extern "C" {

// n: batch, tokens, heads, head_dim, decay_dim (0: none), beta (0: none). data:
// query, key, value, decay, beta, out; f32, [batch][tokens][heads][...].
// Returns null where a plan is refused.
__attribute__((visibility("default"))) void* heed_linear_open(
    const long* n, int threads, const void* const* data) {
  auto call = std::make_unique<Call>();
  const auto view = [&](int i, long dim) {
    return heed::Bshd(static_cast<const float*>(data[i]), n[0], n[1], n[2],
                      dim);
  };
  heed::ScanArgs& args = call->args;
  args.query = view(0, n[3]);
  args.key = view(1, n[3]);
  args.value = view(2, n[3]);
  if (n[4] != 0) args.log_decay = view(3, n[4]);
  if (n[5] != 0) args.beta = view(4, 1);
  args.out = heed::Bshd(static_cast<float*>(const_cast<void*>(data[5])), n[0],
                        n[1], n[2], n[3]);
  if (!heed::MakeScanPlan({}, heed::ShapeOf(args), {}, &call->plan).ok()) {
    return nullptr;
  }
  if (threads > 1) {
    call->threads = std::make_unique<heed::TbbExecutor>(threads);
  }
  constexpr size_t kLine = heed::kWorkspaceAlignment;
  const size_t bytes = heed::ScanWorkspaceBytes(call->plan, threads);
  call->memory.reset(
      std::aligned_alloc(kLine, (bytes + kLine - 1) / kLine * kLine));
  call->workspace = {call->memory.get(), bytes};
  return call.release();
}

__attribute__((visibility("default"))) int heed_linear_run(void* opened) {
  Call& call = *static_cast<Call*>(opened);
  const heed::Executor executor =
      call.threads ? heed::Executor(*call.threads) : heed::SerialExecutor();
  return heed::RunScan(call.plan, call.args, call.workspace, executor).ok() ? 0
                                                                            : 1;
}

__attribute__((visibility("default"))) void heed_linear_close(void* opened) {
  delete static_cast<Call*>(opened);
}

}  // extern "C"
