// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Exact attention as functions that Python's ctypes can call: see peers.py.
#include <cstdlib>
#include <memory>

#include "heed/heed.h"
#include "heed/tbb.h"

namespace {

struct Freed {
  void operator()(void* memory) const { std::free(memory); }
};

struct Call {
  heed::Plan plan;
  heed::AttentionArgs args;
  std::unique_ptr<heed::TbbExecutor> threads;
  std::unique_ptr<void, Freed> memory;
  heed::Workspace workspace;
};

template <typename T>
void SetViews(const long* n, bool bshd, const void* const* data,
              heed::AttentionArgs* args) {
  const auto view = [bshd](auto* p, long batch, long heads, long rows,
                           long dim) {
    return bshd ? heed::Bshd(p, batch, rows, heads, dim)
                : heed::Bhsd(p, batch, heads, rows, dim);
  };
  const auto in = [&](int i) { return static_cast<const T*>(data[i]); };
  args->query = view(in(0), n[0], n[1], n[3], n[5]);
  args->key = view(in(1), n[0], n[2], n[4], n[5]);
  args->value = view(in(2), n[0], n[2], n[4], n[5]);
  args->out =
      view(static_cast<T*>(const_cast<void*>(data[3])), n[0], n[1], n[3], n[5]);
}

}  // namespace

extern "C" {

// n: batch, num_heads, num_kv_heads, seqlen_q, seqlen_k, head_dim. data: query,
// key, value, out. dtype: a heed::DType. Returns null where a plan is refused.
__attribute__((visibility("default"))) void* heed_peer_open(
    const long* n, int dtype, int causal, int bshd, int threads,
    const void* const* data) {
  auto call = std::make_unique<Call>();
  switch (static_cast<heed::DType>(dtype)) {
    case heed::DType::kBF16:
      SetViews<heed::bf16>(n, bshd != 0, data, &call->args);
      break;
    case heed::DType::kF16:
      SetViews<heed::f16>(n, bshd != 0, data, &call->args);
      break;
    default:
      SetViews<float>(n, bshd != 0, data, &call->args);
  }
  heed::AttentionParams params;
  params.causal = causal != 0;
  if (!heed::MakePlan(params, heed::ShapeOf(call->args), {}, &call->plan)
           .ok()) {
    return nullptr;
  }
  if (threads > 1) {
    call->threads = std::make_unique<heed::TbbExecutor>(threads);
  }
  constexpr size_t kLine = heed::kWorkspaceAlignment;
  const size_t bytes = heed::WorkspaceBytes(call->plan, threads);
  call->memory.reset(
      std::aligned_alloc(kLine, (bytes + kLine - 1) / kLine * kLine));
  call->workspace = {call->memory.get(), bytes};
  return call.release();
}

__attribute__((visibility("default"))) int heed_peer_run(void* opened) {
  Call& call = *static_cast<Call*>(opened);
  const heed::Executor executor =
      call.threads ? heed::Executor(*call.threads) : heed::SerialExecutor();
  return heed::Run(call.plan, call.args, call.workspace, executor).ok() ? 0 : 1;
}

__attribute__((visibility("default"))) void heed_peer_close(void* opened) {
  delete static_cast<Call*>(opened);
}

}  // extern "C"
