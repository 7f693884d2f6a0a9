// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The C door: structs of any size and content on views of memory that is there.
// Each call returns, either with a sentence and nothing written, or done.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "heed/heed_c.h"
#include "tests/fuzz/fuzz_target.h"

namespace heed::test {
namespace {

constexpr int64_t kBufferBytes = 40 << 10;
constexpr int64_t kArrayLength = 64;
constexpr int64_t kLargestExtent = 64;  // of views with data, for the time

// Draws from the input; behind its end all is 0, which draws what is sound.
class Draw {
 public:
  explicit Draw(std::string_view bytes) : bytes_(bytes) {}

  uint8_t Byte() {
    return next_ < bytes_.size() ? static_cast<uint8_t>(bytes_[next_++]) : 0;
  }
  int64_t Below(int64_t end) { return Byte() % end; }
  bool Seldom() { return Byte() >= 0xf0; }
  int64_t Any() {
    uint64_t number = 0;
    const int64_t count = Below(9);
    for (int64_t i = 0; i < count; ++i) number = number << 8 | Byte();
    return static_cast<int64_t>(number);
  }
  int32_t Any32() { return static_cast<int32_t>(Any()); }

 private:
  std::string_view bytes_;
  size_t next_ = 0;
};

// A struct of the door with memory behind it, as struct_size may claim.
template <typename T>
class Struct {
 public:
  Struct() : memory_(kBytes / 8, 0) { get()->struct_size = sizeof(T); }
  T* get() { return reinterpret_cast<T*>(memory_.data()); }
  T* operator->() { return get(); }
  // Sometimes another version of it, or none.
  T* Spoilt(Draw* draw) {
    if (draw->Seldom()) {
      get()->struct_size = static_cast<uint64_t>(draw->Any());
      char* const bytes = reinterpret_cast<char*>(memory_.data());
      bytes[sizeof(T) + static_cast<size_t>(draw->Byte())] =
          static_cast<char>(draw->Byte());
    }
    return draw->Seldom() ? nullptr : get();
  }

 private:
  static constexpr size_t kBytes = 4096 + 512;
  std::vector<uint64_t> memory_;
};

// Returns whether all of a view that a call may take lies in the buffer. Views
// with a negative stride are none that it takes.
bool InBuffer(const heed_tensor& view, int64_t bytes) {
  __int128 span = 0;
  for (int i = 0; i < 4; ++i) {
    if (view.extent[i] <= 0) return true;
    if (view.extent[i] > kLargestExtent) return false;
    if (i == 3) break;
    if (view.extent[i] > 1 && view.stride[i] < 0) return true;
    if (view.extent[i] > 1) {
      span += static_cast<__int128>(view.extent[i] - 1) * view.stride[i];
    }
  }
  span += std::max<int64_t>(heed_bytes_of(view.dtype, view.extent[3]), 0);
  return span <= bytes;
}

// The product of a view's first extents, or a very large number.
int64_t Rows(const heed_tensor& view, int extents) {
  int64_t product = 1;
  for (int i = 0; i < extents; ++i) {
    if (view.extent[i] <= 0) return 0;
    if (view.extent[i] > INT64_MAX / product) return INT64_MAX;
    product *= view.extent[i];
  }
  return product;
}

// Everything that a call is given.
class Case {
 public:
  explicit Case(std::string_view bytes) : draw_(bytes) {
    batch_ = 1 + draw_.Below(2);
    kv_heads_ = 1 + draw_.Below(2);
    heads_ = kv_heads_ * (1 + draw_.Below(3));
    seqlen_q_ = (1 + draw_.Below(20)) % 20;
    seqlen_k_ = (5 + draw_.Below(50)) % 50;
    dim_ = 1 + (7 + draw_.Below(40)) % 40;
    DrawParams();
    DrawTensors();
    DrawGroups();
    DrawScores();
    executor_->self = this;
    executor_->parallel_for = &ParallelFor;
    executor_->max_workers = static_cast<int32_t>(1 + draw_.Below(3));
    if (draw_.Seldom()) executor_->max_workers = -(draw_.Any32() / 2);
    executor_->max_workers = std::min(executor_->max_workers, 3);
  }

  void Run();

 private:
  static void ParallelFor(void* self, int64_t num_tasks, void* ctx,
                          heed_task task) {
    const int32_t worker = static_cast<Case*>(self)->executor_->max_workers - 1;
    for (int64_t i = num_tasks; i-- > 0;) task(ctx, i, worker);
  }
  // Writes every score: all of them must be there.
  static void Hook(void*, const heed_score_tile* tile) {
    for (int32_t key = 0; key < tile->num_keys; ++key) {
      for (int32_t row = 0; row < tile->num_rows; ++row) {
        tile->score[key * tile->key_stride + row] +=
            static_cast<float>(tile->key_position[key] + tile->row_index[row] +
                               tile->row_head[row]);
      }
    }
  }

  void DrawParams();
  void DrawTensors();
  void DrawGroups();
  void DrawScores();
  heed_tensor Tensor(int32_t dtype, int64_t batch, int64_t seqlen,
                     int64_t heads, int64_t dim);
  heed_tensor Maybe(int32_t dtype, int64_t batch, int64_t seqlen, int64_t heads,
                    int64_t dim) {
    if (!draw_.Seldom()) return {};
    return Tensor(dtype, batch, seqlen, heads, dim);
  }
  template <typename T>
  const T* Array();

  // Checks what came of a call.
  void Judge(int32_t code);
  void RunTasks(const heed_run* run);
  void RunStates(const heed_plan* plan, void* workspace, uint64_t bytes);
  void RunCaches();
  void RunMasks();

  Draw draw_;
  int64_t batch_, kv_heads_, heads_, seqlen_q_, seqlen_k_, dim_;
  std::vector<std::vector<uint64_t>> buffers_;
  char* out_ = nullptr;
  std::vector<char> before_;
  Struct<heed_attention_params> params_;
  Struct<heed_plan_options> options_;
  Struct<heed_attention_args> args_;
  Struct<heed_kv_scales> scales_;
  Struct<heed_key_intervals> intervals_;
  Struct<heed_ragged> ragged_;
  Struct<heed_pages> pages_;
  Struct<heed_score_inputs> scores_;
  Struct<heed_executor> executor_;
  Struct<heed_status> status_;
};

heed_tensor Case::Tensor(int32_t dtype, int64_t batch, int64_t seqlen,
                         int64_t heads, int64_t dim) {
  buffers_.emplace_back(kBufferBytes / 8, 0x3f3f3f3f3f3f3f3f);
  char* data = reinterpret_cast<char*>(buffers_.back().data());
  int64_t bytes = kBufferBytes;
  heed_tensor view = heed_bshd(data, dtype, batch, seqlen, heads, dim);
  if (draw_.Seldom()) {
    const int64_t axis = draw_.Below(4);
    switch (draw_.Below(7)) {
      case 0:
        view.extent[axis] = draw_.Below(kLargestExtent);
        break;
      case 1:
        view.extent[axis] = draw_.Any();
        break;
      case 2:
        view.stride[axis] = draw_.Any();
        break;
      case 3:
        view.stride[axis] = 4 * draw_.Below(64);
        break;
      case 4:
        view.dtype = draw_.Any32();
        break;
      case 5:
        view.struct_size = static_cast<uint64_t>(draw_.Any());
        view.reserved = draw_.Any32();
        break;
      case 6:
        view.data = data + 1;
        --bytes;
        break;
    }
  }
  if (!InBuffer(view, bytes)) view.data = nullptr;
  return view;
}

// An array of small numbers, seldom in order.
template <typename T>
const T* Case::Array() {
  if (!draw_.Seldom()) return nullptr;
  buffers_.emplace_back(kArrayLength, 0);
  T* const numbers = reinterpret_cast<T*>(buffers_.back().data());
  const bool rising = draw_.Below(2) == 0;
  T last = 0;
  for (int64_t i = 0; i < kArrayLength; ++i) {
    const T number = static_cast<T>(static_cast<int8_t>(draw_.Byte()));
    last = static_cast<T>(rising ? last + number : number);
    numbers[i] = last;
  }
  return numbers;
}

void Case::DrawParams() {
  heed_attention_params_init(params_.get(), sizeof(heed_attention_params));
  params_->causal = static_cast<int32_t>(draw_.Below(3));
  if (draw_.Seldom()) params_->causal_offset = draw_.Any();
  if (draw_.Seldom()) params_->window_left = draw_.Any();
  if (draw_.Seldom()) params_->window_right = draw_.Any();
  if (draw_.Seldom()) params_->sink_size = draw_.Any();
  if (draw_.Seldom()) params_->reserved = draw_.Any32();
  if (draw_.Seldom()) {
    const int32_t bits = draw_.Any32();
    std::memcpy(&params_->softmax_scale, &bits, sizeof(bits));
  }
  if (draw_.Seldom()) {
    const int32_t bits = draw_.Any32();
    std::memcpy(&params_->softcap, &bits, sizeof(bits));
  }
  heed_plan_options_init(options_.get(), sizeof(heed_plan_options));
  if (draw_.Seldom()) options_->target = draw_.Below(2) ? "nonesuch" : "";
  if (draw_.Seldom()) options_->unit = "nonesuch";
  if (draw_.Seldom()) options_->lane_groups = draw_.Any32();
  if (draw_.Seldom()) options_->decode_rows = draw_.Any32();
  if (draw_.Seldom()) options_->numerics = draw_.Any32();
}

void Case::DrawTensors() {
  const int32_t key = static_cast<int32_t>(draw_.Below(7));
  const int32_t value = static_cast<int32_t>(draw_.Below(7));
  args_->query = Tensor(static_cast<int32_t>(draw_.Below(3)), batch_, seqlen_q_,
                        heads_, dim_);
  args_->key = Tensor(key, batch_, seqlen_k_, kv_heads_, dim_);
  args_->value = Tensor(value, batch_, seqlen_k_, kv_heads_, dim_);
  args_->out = Tensor(static_cast<int32_t>(draw_.Below(3)), batch_, seqlen_q_,
                      heads_, dim_);
  out_ = reinterpret_cast<char*>(buffers_.back().data());
  args_->lse = Tensor(HEED_F32, batch_, seqlen_q_, heads_, 1);
  if (draw_.Seldom()) args_->lse = {};
  if (draw_.Seldom()) args_->out = args_->query;
  before_.assign(out_, out_ + kBufferBytes);
}

void Case::DrawGroups() {
  if (draw_.Seldom()) {
    args_->kv_scales = scales_.get();
    scales_->key_rotated = static_cast<int32_t>(draw_.Below(3));
    scales_->value_rotated = static_cast<int32_t>(draw_.Below(3));
    for (heed_tensor* tensor :
         {&scales_->key_scale, &scales_->value_scale, &scales_->key_minimum,
          &scales_->value_minimum}) {
      *tensor =
          Maybe(HEED_F32, batch_, seqlen_k_, kv_heads_, 1 + draw_.Below(2));
    }
    args_->kv_scales = scales_.Spoilt(&draw_);
  }
  if (draw_.Seldom()) {
    intervals_->query_block_size = 1 + draw_.Below(30);
    intervals_->num_offsets = draw_.Below(kArrayLength + 1);
    intervals_->num_intervals = draw_.Below(kArrayLength + 1);
    intervals_->offsets = Array<int64_t>();
    intervals_->intervals =
        reinterpret_cast<const heed_key_interval*>(Array<int32_t>());
    if (draw_.Seldom()) intervals_->num_intervals = -draw_.Below(5);
    args_->key_intervals = intervals_.Spoilt(&draw_);
  }
  if (draw_.Seldom()) {
    ragged_->num_sequences = draw_.Below(20);
    ragged_->cu_seqlens_q = Array<int32_t>();
    ragged_->seqlens_k = Array<int32_t>();
    ragged_->cu_seqlens_k = Array<int32_t>();
    ragged_->causal_offset = Array<int64_t>();
    if (draw_.Seldom()) {
      ragged_->shared_prefixes =
          reinterpret_cast<const heed_shared_prefix*>(Array<int32_t>());
      ragged_->num_shared_prefixes = draw_.Below(20);
    }
    args_->ragged = ragged_.Spoilt(&draw_);
  }
  if (draw_.Seldom()) {
    pages_->page_table = Array<int32_t>();
    pages_->num_sequences = draw_.Below(6);
    pages_->pages_per_sequence = draw_.Below(9);
    pages_->table_stride = draw_.Below(9);
    if (draw_.Below(2)) {
      pages_->page_table = nullptr;
      // All null: a call that needs one is refused.
      buffers_.emplace_back(kArrayLength, 0);
      const auto nulls = reinterpret_cast<void* const*>(buffers_.back().data());
      pages_->key_pages = nulls;
      pages_->value_pages = nulls;
      if (draw_.Below(2)) pages_->key_scale_pages = nulls;
      if (draw_.Below(2)) pages_->value_scale_pages = nulls;
      if (draw_.Below(2)) {
        for (heed_tensor* tensor : {&args_->key, &args_->value}) {
          tensor->data = nullptr;
          tensor->extent[0] = 1;
        }
      }
    }
    args_->pages = pages_.Spoilt(&draw_);
  }
}

void Case::DrawScores() {
  if (!draw_.Seldom()) return;
  const int64_t heads = draw_.Below(2) ? 1 : heads_;
  scores_->bias = Maybe(static_cast<int32_t>(draw_.Below(3)), batch_, seqlen_q_,
                        heads, seqlen_k_);
  scores_->mask = Maybe(HEED_BOOL, batch_, seqlen_q_, heads, seqlen_k_);
  scores_->alibi_slopes = Maybe(HEED_F32, batch_, 1, heads_, 1);
  scores_->relative_bias =
      Maybe(HEED_F32, batch_, 1, heads_, 1 + draw_.Below(9));
  scores_->query_decay = Maybe(HEED_F32, batch_, seqlen_q_, heads_, 1);
  scores_->key_decay = Maybe(HEED_F32, batch_, seqlen_k_, heads_, 1);
  scores_->sink_logits = Maybe(HEED_F32, batch_, 1, heads_, 1);
  scores_->prefix_lengths = Maybe(HEED_I32, batch_, 1, 1, 1);
  scores_->row_lengths = Maybe(HEED_I32, batch_, seqlen_q_, 1, 1);
  scores_->query_documents = Maybe(HEED_I32, batch_, seqlen_q_, 1, 1);
  scores_->key_documents = Maybe(HEED_I32, batch_, seqlen_k_, 1, 1);
  scores_->tree_mask = Maybe(HEED_U64, batch_, seqlen_q_, 1, 1);
  if (draw_.Seldom()) scores_->hook = &Hook;
  args_->scores = scores_.Spoilt(&draw_);
}

void Case::Judge(int32_t code) {
  char text[1025];
  const heed_status* const status = status_.get();
  if (status->struct_size != sizeof(heed_status)) {
    heed_status_text(status, text, sizeof(text));
    status_->struct_size = sizeof(heed_status);
    return;
  }
  Require(code == status->code);
  Require(heed_status_text(status, text, sizeof(text)) < sizeof(text));
  RequireSentence(text);
  if (code == HEED_OK) {
    before_.assign(out_, out_ + kBufferBytes);
    return;
  }
  Require(code >= HEED_INVALID_ARGUMENT && code <= HEED_WORKSPACE);
  Require(status->argument[0] != '\0');
  Require(std::memcmp(before_.data(), out_, kBufferBytes) == 0);
}

void Case::RunTasks(const heed_run* run) {
  const int32_t phases = heed_num_phases(run);
  for (int32_t phase = 0; phase < phases; ++phase) {
    const int64_t tasks = heed_num_tasks(run, phase);
    for (int64_t i = 0; i < tasks; ++i) {
      Require(heed_run_task(run, phase, i, 0) == HEED_OK);
    }
    Require(heed_run_task(run, phase, tasks, 0) == HEED_INVALID_ARGUMENT);
    Require(heed_run_task(run, phase, 0, -1) == HEED_INVALID_ARGUMENT);
  }
  Require(heed_run_task(run, phases, 0, 0) == HEED_INVALID_ARGUMENT);
  Require(heed_num_tasks(run, draw_.Any32() | INT32_MIN) == 0);
}

void Case::RunStates(const heed_plan* plan, void* workspace, uint64_t bytes) {
  heed_status* const status = status_.get();
  Struct<heed_shard> shard;
  if (draw_.Seldom()) shard->first_key = draw_.Any();
  shard->whole_groups = static_cast<int32_t>(draw_.Below(3));
  heed_shard* const used_shard = shard.Spoilt(&draw_);
  const int64_t width = 2 + dim_;
  const heed_tensor states = Tensor(HEED_F32, batch_, seqlen_q_, heads_, width);
  heed_attention_args part = *args_.get();
  part.struct_size = sizeof(part);  // all the memory that it has
  if (!draw_.Seldom()) part.out = part.lse = {};
  Judge(heed_run_states(plan, &part, used_shard, workspace, bytes, nullptr,
                        &states, status));
  int64_t count = 0;
  Judge(heed_num_states(used_shard, draw_.Any(), &count, status));
  Struct<heed_running_states> total;
  const heed_tensor memory =
      Tensor(HEED_F32, 2 * batch_, seqlen_q_, heads_, width);
  Judge(heed_init_states(&memory, total.get(), status));
  if (draw_.Seldom()) total->next_key = draw_.Any();
  heed_running_states* const used_total = total.Spoilt(&draw_);
  Judge(heed_append_states(&states, used_shard,
                           draw_.Seldom() ? draw_.Any() : seqlen_k_, used_total,
                           status));
  const heed_tensor out = Tensor(HEED_F32, batch_, seqlen_q_, heads_, dim_);
  const heed_tensor lse = Maybe(HEED_F32, batch_, seqlen_q_, heads_, 1);
  Judge(heed_finish_states(used_total, static_cast<int32_t>(draw_.Below(3)),
                           &out, &lse, status));
}

void Case::RunCaches() {
  heed_status* const status = status_.get();
  // Tables of kArrayLength / 2 positions of 4 channels.
  std::vector<double> frequency(512);
  std::vector<float> tables(4 * kArrayLength);
  Judge(heed_rope_frequencies(draw_.Seldom() ? -1 : 1e4,
                              draw_.Seldom() ? draw_.Any() : 4,
                              frequency.data(), status));
  Judge(heed_fill_rope_tables(
      frequency.data(), 4, draw_.Seldom() ? draw_.Any() : 0, kArrayLength / 2,
      tables.data(), tables.data() + 2 * kArrayLength, status));
  Struct<heed_rope> rope;
  rope->rotary_dim = 2 * draw_.Below(3);
  rope->num_positions = kArrayLength / 2;
  rope->cos = tables.data();
  rope->sin = tables.data() + 2 * kArrayLength;
  rope->interleaved = static_cast<int32_t>(draw_.Below(3));
  heed_rope* const used_rope = rope.Spoilt(&draw_);
  const heed_tensor source = Tensor(HEED_F32, batch_, 3, kv_heads_, dim_);
  const heed_tensor to =
      Tensor(static_cast<int32_t>(draw_.Below(3)), batch_, 3, kv_heads_, dim_);
  const bool few = Rows(source, 2) <= kArrayLength;
  Judge(heed_apply_rope(&source, few ? Array<int32_t>() : nullptr, used_rope,
                        &to, nullptr, status));
  Struct<heed_append_args> append;
  append->key = Maybe(HEED_F32, batch_, 3, kv_heads_, dim_);
  append->value = Maybe(HEED_F32, batch_, 3, kv_heads_, dim_);
  append->key_cache =
      Tensor(static_cast<int32_t>(draw_.Below(7)), batch_, 30, kv_heads_, dim_);
  append->value_cache =
      Tensor(static_cast<int32_t>(draw_.Below(7)), batch_, 30, kv_heads_, dim_);
  append->key_scale = Maybe(HEED_F32, batch_, 30, kv_heads_, 1);
  append->value_scale = Maybe(HEED_F32, batch_, 30, kv_heads_, 1);
  append->key_minimum = Maybe(HEED_F32, batch_, 30, kv_heads_, 1);
  append->num_sequences = draw_.Seldom() ? draw_.Below(20) : batch_;
  append->past_lengths = Array<int32_t>();
  append->cu_seqlens = Array<int32_t>();
  // One number a new row, of which there are at most 6 where nothing is spoilt.
  append->rope_positions =
      Rows(append->key, 2) <= kArrayLength ? Array<int32_t>() : nullptr;
  append->pages = args_->pages;
  append->rope = used_rope;
  append->given_scales = static_cast<int32_t>(draw_.Below(3));
  append->key_rotated = static_cast<int32_t>(draw_.Below(3));
  Judge(heed_append_kv(append.Spoilt(&draw_), nullptr, status));
}

void Case::RunMasks() {
  constexpr int64_t kRows = 4096;
  std::vector<int32_t> begin(kRows), end(kRows), lengths(kLargestExtent);
  Struct<heed_mask_options> options;
  options->lowest_hides_rows = static_cast<int32_t>(draw_.Below(3));
  if (draw_.Below(2) == 0) options->begin = begin.data();
  if (draw_.Below(2) == 0) options->end = end.data();
  if (draw_.Below(2) == 0) options->seqlens_k = lengths.data();
  const heed_tensor mask = Tensor(draw_.Below(2) ? HEED_F32 : HEED_BOOL, batch_,
                                  seqlen_q_, heads_, seqlen_k_);
  // Extents with nothing behind them may be large, and lengths are written all
  // the same.
  if (Rows(mask, 3) > kRows || mask.extent[0] > kLargestExtent) return;
  Struct<heed_recognised_mask> found;
  Judge(heed_recognise_mask(&mask, options.Spoilt(&draw_), found.Spoilt(&draw_),
                            status_.get()));
}

void Case::Run() {
  heed_attention_args* const args = args_.Spoilt(&draw_);
  heed_attention_params* const params = params_.Spoilt(&draw_);
  heed_plan_options* const options = options_.Spoilt(&draw_);
  heed_executor* const executor = executor_.Spoilt(&draw_);
  heed_status* const status = status_.get();
  if (draw_.Seldom()) {
    status_->struct_size = static_cast<uint64_t>(draw_.Any());
  }
  Judge(heed_attention(params, args, executor, status));

  Struct<heed_attention_shape> shape;
  Judge(heed_shape_of(args, shape.get(), status));
  if (draw_.Seldom()) shape->seqlen_k = draw_.Any();
  if (draw_.Seldom()) shape->num_sequences = draw_.Any();
  if (draw_.Seldom()) shape->scores = draw_.Any32();
  std::vector<uint64_t> plan_memory(heed_plan_bytes() / 8 + 1);
  heed_plan* const plan = reinterpret_cast<heed_plan*>(plan_memory.data());
  Judge(heed_make_plan(params, shape.Spoilt(&draw_), options, plan,
                       heed_plan_bytes() - (draw_.Seldom() ? 1 : 0), status));
  uint64_t bytes = 0;
  Judge(heed_workspace_bytes(
      plan, draw_.Seldom() ? draw_.Any32() : executor_->max_workers, &bytes,
      status));
  std::vector<uint64_t> text(200);
  Judge(heed_explain_plan(plan, reinterpret_cast<char*>(text.data()),
                          static_cast<uint64_t>(draw_.Byte()), nullptr,
                          status));
  bytes = std::min<uint64_t>(bytes, 16 << 20);
  std::vector<uint64_t> memory(bytes / 8 + 16);
  const uint64_t mask = heed_workspace_alignment() - 1;
  char* const workspace = reinterpret_cast<char*>(
      (reinterpret_cast<uintptr_t>(memory.data()) + mask) & ~mask);
  if (draw_.Seldom()) bytes -= std::min<uint64_t>(bytes, draw_.Byte());
  Judge(heed_run_plan(plan, args, workspace + (draw_.Seldom() ? 1 : 0), bytes,
                      executor, status));

  std::vector<uint64_t> run_memory(heed_run_bytes() / 8 + 1);
  heed_run* const run = reinterpret_cast<heed_run*>(run_memory.data());
  Struct<heed_run_options> run_options;
  run_options->no_barriers = static_cast<int32_t>(draw_.Below(3));
  const int32_t code =
      heed_begin_run(plan, args, workspace, bytes, 1,
                     run_options.Spoilt(&draw_), run, heed_run_bytes(), status);
  Judge(code);
  RunTasks(run);
  before_.assign(out_, out_ + kBufferBytes);

  heed_tensor states[6];
  for (heed_tensor& state : states) {
    const bool lse = (&state - states) % 2 == 1;
    state = Tensor(HEED_F32, batch_, seqlen_q_, heads_, lse ? 1 : dim_);
  }
  Judge(heed_merge_states(&states[0], &states[1], &states[2], &states[3],
                          &states[4], &states[5], status));
  Struct<heed_quantize_options> quantize;
  quantize->rotate = static_cast<int32_t>(draw_.Below(3));
  quantize->given_scale = static_cast<int32_t>(draw_.Below(3));
  const heed_tensor to = Tensor(static_cast<int32_t>(3 + draw_.Below(5)),
                                batch_, seqlen_k_, kv_heads_, dim_);
  const heed_tensor scale =
      Tensor(HEED_F32, batch_, seqlen_k_, kv_heads_, 1 + draw_.Below(2));
  const heed_tensor minimum = Maybe(HEED_F32, batch_, seqlen_k_, kv_heads_, 1);
  Judge(heed_quantize_kv(&args_->key, quantize.Spoilt(&draw_), &to, &scale,
                         &minimum, status));
  RunStates(plan, workspace, bytes);
  RunCaches();
  RunMasks();
  Struct<heed_target_info> target;
  Judge(heed_get_target(draw_.Any32(), target.Spoilt(&draw_), status));
  Struct<heed_unit_info> unit;
  Judge(heed_get_unit(draw_.Any32(), unit.Spoilt(&draw_), status));
}

void Run(std::string_view bytes) { Case(bytes).Run(); }

// Sound calls of several shapes, and inputs that are spoilt everywhere.
std::vector<std::string> Seeds() {
  std::vector<std::string> seeds = {"", std::string(96, '\0'),
                                    std::string(160, '\xff')};
  std::string mixed;
  for (int i = 0; i < 200; ++i) {
    mixed.push_back(static_cast<char>(i * 37 % 256));
  }
  seeds.push_back(mixed);
  seeds.push_back(std::string("\1\1\2\7\55\40\1", 7) + std::string(120, '\3'));
  // Groups and score inputs, mostly sound.
  std::string groups(60, '\0');
  for (int i = 0; i < 40; ++i) groups += std::string("\xf8\0\0\1", 4);
  seeds.push_back(groups);
  return seeds;
}

const FuzzTarget kTarget("heed_c", Run, Seeds, {"\0\1\7\x80\xf4\xff", 6});

}  // namespace
}  // namespace heed::test
