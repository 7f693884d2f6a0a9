// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A variant's call as scans: keys that no row stands at are written first, rows
// that stand at a key come with it, and rows beyond the last key read.
#include <algorithm>
#include <cstdint>

#include "heed/linear_state.h"
#include "heed/linear_variant.h"
#include "lib/core/check.h"
#include "lib/core/choose_target.h"

namespace heed {
namespace {

Status CheckMasks(const VariantArgs& a) {
  const AttentionParams& params = a.params;
  const char* argument = nullptr;
  const char* message = nullptr;
  if (params.window_left >= 0) {
    argument = "window_left";
    message = "a state of sums cannot forget keys";
  } else if (params.window_right >= 0 && !params.causal) {
    argument = "window_right";
    message = "only a causal mask is served";
  } else if (params.softcap != 0) {
    argument = "softcap";
    message = "linear attention has no scores to cap";
  } else if (a.args.key_intervals.query_block_size != 0) {
    argument = "key_intervals";
    message = "a state of sums cannot select keys";
  } else if (a.args.ragged.num_sequences != 0) {
    argument = "num_sequences";
    message = "linear variants take one length a call";
  } else if (a.args.scores.any()) {
    argument = "scores";
    message = "linear attention has no scores to change";
  } else {
    return Status();
  }
  return Status(StatusCode::kUnsupported, argument, message);
}

// How a call falls apart. Row i stands at key i + offset where it is causal,
// behind all keys where it is not.
struct Parts {
  int64_t blind_rows;    // before the first key
  int64_t leading_keys;  // before the first row's
  int64_t aligned;       // rows, each with its key
  int64_t offset;        // the position of row 0
};

Parts PartsOf(const AttentionParams& params, int64_t rows, int64_t keys) {
  if (!params.causal) return {0, keys, 0, 0};
  const int64_t offset = FirstPosition(params, rows, keys);
  Parts p;
  p.blind_rows = std::clamp<int64_t>(offset < -rows ? rows : -offset, 0, rows);
  p.leading_keys = std::clamp<int64_t>(offset, 0, keys);
  p.aligned = std::min(rows - p.blind_rows, keys - p.leading_keys);
  p.offset = offset;
  return p;
}

// The parts in turn, the state handed on in the host's scratch.
class Attending {
 public:
  Attending(const VariantArgs& host, const LinearCall& call)
      : host_(host),
        call_(call),
        t_(host.args),
        parts_(PartsOf(host.params, t_.query.seqlen(), t_.key.seqlen())) {}

  // Checks the gates' length, which parts hide from the scans, and gets what
  // memory it takes, so that nothing is written where it is refused.
  Status Prepare() {
    Status status = CheckTokens(call_.log_decay, "log_decay");
    if (status.ok()) status = CheckTokens(call_.beta, "beta");
    if (status.ok()) status = CheckTokens(call_.erase_key, "erase_key");
    if (status.ok()) status = CheckTokens(call_.remove_key, "remove_key");
    if (!status.ok()) return status;
    const int64_t reading =
        t_.query.seqlen() - parts_.blind_rows - parts_.aligned;
    const int scans =
        (parts_.leading_keys > 0) + (parts_.aligned > 0) + (reading > 0);
    const int64_t dim =
        call_.map.features > 0 ? call_.map.features : t_.key.head_dim();
    const int64_t sums = t_.key.batch() * t_.key.heads() * dim;
    if (scans > 1) {
      const int64_t floats = sums * t_.value.head_dim();
      float* state = host_.scratch.Array<float>(floats);
      float* sum = host_.scratch.Array<float>(sums);
      if (state == nullptr || sum == nullptr) return NoMemory();
      state_ =
          Bshd(state, t_.key.batch(), t_.key.heads(), dim, t_.value.head_dim());
      if (call_.params.normalise) {
        sum_ = Bshd(sum, t_.key.batch(), 1, t_.key.heads(), dim);
      }
    }
    // The largest of the parts serves all.
    ScanArgs whole = Keys(0, t_.key.seqlen());
    ScanShape shape = ShapeOf(whole);
    shape.num_query_heads = t_.query.heads();
    shape.seqlen = std::max(t_.key.seqlen(), t_.query.seqlen());
    const ScanOptions options = {host_.target, call_.chunk};
    status = MakeScanPlan(call_.params, shape, options, &plan_);
    if (!status.ok()) return status;
    workspace_.bytes = ScanWorkspaceBytes(plan_, host_.executor.max_workers);
    workspace_.data =
        host_.scratch.Array<char>(static_cast<int64_t>(workspace_.bytes));
    return workspace_.data == nullptr ? NoMemory() : Status();
  }

  Status Run() {
    const int64_t first = parts_.blind_rows, keys = parts_.leading_keys;
    const int64_t end = first + parts_.aligned;
    Status status;
    if (keys > 0) status = RunPart(Keys(0, keys));
    if (status.ok() && parts_.aligned > 0) {
      ScanArgs args = Keys(keys, parts_.aligned);
      SetRows(first, parts_.aligned, &args);
      status = RunPart(args);
    }
    if (status.ok() && end < t_.query.seqlen()) {
      if (t_.key.seqlen() == 0) {
        ClearRows(end, t_.query.seqlen());
      } else {
        ScanArgs args;
        args.map = call_.map;
        SetRows(end, t_.query.seqlen() - end, &args);
        status = RunPart(args);
      }
    }
    // Last, as scans look at the gates first.
    if (status.ok()) ClearRows(0, first);
    return status;
  }

 private:
  Status CheckTokens(const ConstTensorView& gates, const char* name) const {
    if (gates.absent() || gates.seqlen() == t_.key.seqlen()) return Status();
    return internal::Invalid(name, "must have the key's seqlen")
        .WithIndex(1)
        .WithValue(gates.seqlen())
        .WithBound(t_.key.seqlen(), BoundKind::kNeeds);
  }

  static Status NoMemory() {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "the state and the workspace could not be allocated");
  }

  ScanArgs Keys(int64_t first, int64_t count) const {
    ScanArgs args;
    args.map = call_.map;
    args.map.key_position = first;
    args.key = TokensOf(t_.key, first, count);
    args.value = TokensOf(t_.value, first, count);
    args.log_decay = TokensOf(call_.log_decay, first, count);
    args.beta = TokensOf(call_.beta, first, count);
    args.erase_key = TokensOf(call_.erase_key, first, count);
    args.remove_key = TokensOf(call_.remove_key, first, count);
    return args;
  }

  void SetRows(int64_t first, int64_t count, ScanArgs* args) const {
    args->map.query_position = first + parts_.offset;
    args->query = TokensOf(t_.query, first, count);
    args->out = TokensOf(t_.out, first, count);
  }

  Status RunPart(ScanArgs args) {
    if (started_) {
      args.initial_state = state_;
      args.initial_sum = sum_;
    }
    if (!args.key.absent()) {
      args.final_state = state_;
      args.final_sum = sum_;
    }
    started_ = true;
    return RunScan(plan_, args, workspace_, host_.executor);
  }

  // Rows that see nothing.
  void ClearRows(int64_t begin, int64_t end) {
    for (int64_t b = 0; b < t_.out.batch(); ++b) {
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t h = 0; h < t_.out.heads(); ++h) {
          float* row = RowAt(t_.out, b, i, h);
          std::fill(row, row + t_.out.head_dim(), 0.0f);
        }
      }
    }
  }

  const VariantArgs& host_;
  const LinearCall& call_;
  const AttentionArgs& t_;
  const Parts parts_;
  TensorView state_, sum_;
  ScanPlan plan_;
  Workspace workspace_;
  bool started_ = false;
};

}  // namespace

Status AttendLinear(const VariantArgs& host, const LinearCall& call) {
  Status status = CheckMasks(host);
  if (!status.ok()) return status;
  const AttentionArgs& t = host.args;
  if (t.query.batch() > 0 && t.query.seqlen() > 0 && t.query.heads() > 0) {
    Attending attending(host, call);
    status = attending.Prepare();
    if (status.ok()) status = attending.Run();
    if (!status.ok()) return status;
  }
  WriteNoLse(host);
  return Status();
}

Status CheckLinearCall(const VariantArgs& host) {
  const Status status = CheckMasks(host);
  internal::Target target;
  return status.ok() ? internal::ChooseTarget(host.target, &target) : status;
}

Cost LinearCost(const AttentionShape& shape, const AttentionParams& params,
                int64_t features, int chunk, bool delta, bool untied) {
  const double queries = static_cast<double>(shape.seqlen_q) *
                         static_cast<double>(shape.num_heads);
  const double keys = static_cast<double>(shape.seqlen_k) *
                      static_cast<double>(shape.num_kv_heads);
  const double dim = static_cast<double>(features);
  const double dim_v = static_cast<double>(shape.head_dim_v);
  Cost cost = ops::SoftmaxCost(shape, 0);
  // Reads and writes of the state, and half of each chunk's pairs.
  double flops = 2 * (queries + keys) * dim * dim_v;
  if (params.causal) flops += queries * chunk * (dim + dim_v);
  if (delta) flops += keys * (2 * dim * dim_v + chunk * (dim + dim_v));
  // Twice the rows that are written.
  if (untied) {
    flops += keys * (2 * dim * dim_v + chunk * (dim + dim_v));
    if (params.causal) flops += queries * chunk * (dim + dim_v);
  }
  cost.flops = static_cast<double>(shape.batch) * flops;
  return cost;
}

}  // namespace heed
