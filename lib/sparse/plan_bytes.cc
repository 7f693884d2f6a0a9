// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Plans as bytes. What is read was written by anyone.
#include <cstdint>
#include <cstring>

#include "heed/sparse.h"
#include "lib/core/check.h"
#include "lib/sparse/plan_memory.h"

namespace heed {
namespace {

using internal::Invalid;

constexpr char kMagic[] = {'h', 'e', 'e', 'd', 'p', 'l', 'a', 'n'};
constexpr uint32_t kVersion = 1;
constexpr uint32_t kHasBits = 1;
constexpr int64_t kNumbers = 12;
constexpr int64_t kHeadBytes = sizeof(kMagic) + 2 * 4 + 8 * kNumbers;

// The numbers of a plan, in the order in which they are written, and the least
// that each may be. Masks are checked as all masks are.
template <typename Plan, typename F>
void ForEachNumber(Plan& plan, F f) {
  f(plan.params.causal_offset, "causal_offset", INT64_MIN);
  f(plan.params.window_left, "window_left", INT64_MIN);
  f(plan.params.window_right, "window_right", INT64_MIN);
  f(plan.params.sink_size, "sink_size", INT64_MIN);
  f(plan.batch, "batch", 1);
  f(plan.num_heads, "num_heads", 1);
  f(plan.seqlen_q, "seqlen_q", 0);
  f(plan.seqlen_k, "seqlen_k", 0);
  f(plan.query_block_size, "query_block_size", 1);
  f(plan.num_intervals, "num_intervals", 0);
  f(plan.num_words, "num_words", 0);
}

class Writer {
 public:
  explicit Writer(void* to) : to_(static_cast<unsigned char*>(to)) {}
  template <typename T>
  void Put(T value) {
    for (size_t i = 0; i < sizeof(T); ++i) {
      *to_++ =
          static_cast<unsigned char>(static_cast<uint64_t>(value) >> (8 * i));
    }
  }

 private:
  unsigned char* to_;
};

class Reader {
 public:
  explicit Reader(const void* from)
      : from_(static_cast<const unsigned char*>(from)) {}
  template <typename T>
  void Get(T* value) {
    uint64_t bits = 0;
    for (size_t i = 0; i < sizeof(T); ++i) {
      bits |= static_cast<uint64_t>(*from_++) << (8 * i);
    }
    *value = static_cast<T>(bits);
  }

 private:
  const unsigned char* from_;
};

// The bytes of a plan with these numbers, or -1 where they leave 63 bits.
int64_t SizeOf(const SparsePlan& plan, bool has_bits) {
  int64_t lists, offsets, intervals, words, size;
  if (__builtin_mul_overflow(plan.batch, plan.num_heads, &lists) ||
      __builtin_mul_overflow(lists, internal::QueryBlocks(plan), &lists) ||
      __builtin_add_overflow(lists, 1, &lists) ||
      __builtin_mul_overflow(lists, 8, &offsets) ||
      __builtin_mul_overflow(plan.num_intervals, has_bits ? 16 : 8,
                             &intervals) ||
      __builtin_mul_overflow(plan.num_words, 8, &words) ||
      __builtin_add_overflow(offsets, intervals, &size) ||
      __builtin_add_overflow(size, words, &size) ||
      __builtin_add_overflow(size, kHeadBytes, &size)) {
    return -1;
  }
  return size;
}

// Whether the head's numbers can be those of a plan; sets *has_bits.
Status ReadHead(const void* bytes, int64_t size, SparsePlan* plan,
                bool* has_bits) {
  if (bytes == nullptr) return Invalid("bytes", "are null");
  if (size < kHeadBytes || std::memcmp(bytes, kMagic, sizeof(kMagic)) != 0) {
    return Invalid("bytes", "are no sparse plan's");
  }
  Reader reader(static_cast<const char*>(bytes) + sizeof(kMagic));
  uint32_t version, flags;
  reader.Get(&version);
  reader.Get(&flags);
  if (version != kVersion) {
    return Status(StatusCode::kUnsupported, "version",
                  "of a sparse plan is not known")
        .WithValue(version)
        .WithBound(kVersion, BoundKind::kNeeds);
  }
  if (flags > kHasBits) {
    return Invalid("flags", "must be 0 or 1").WithValue(flags);
  }
  *has_bits = flags == kHasBits;
  int64_t causal;
  reader.Get(&causal);
  if (causal != 0 && causal != 1) {
    return Invalid("causal", "must be 0 or 1").WithValue(causal);
  }
  plan->params.causal = causal == 1;
  Status status;
  ForEachNumber(*plan, [&](int64_t& number, const char* name, int64_t least) {
    reader.Get(&number);
    if (!status.ok() || number >= least) return;
    status = Invalid(name, "is too small for a plan")
                 .WithValue(number)
                 .WithBound(least, BoundKind::kAtLeast);
  });
  if (!status.ok()) return status;
  if (plan->params.causal_offset == kBottomRight) {
    return Invalid("causal_offset", "of a sparse plan must be resolved");
  }
  if (!*has_bits && plan->num_words != 0) {
    return Invalid("num_words", "must be 0 where no interval has bits")
        .WithValue(plan->num_words)
        .WithBound(0, BoundKind::kNeeds);
  }
  return Status();
}

// The masks must be such as a plan is made under.
Status CheckMasks(const SparsePlan& plan, const Scratch& memory) {
  AttentionShape shape;
  shape.batch = plan.batch;
  shape.num_heads = plan.num_heads;
  shape.seqlen_q = plan.seqlen_q;
  shape.seqlen_k = plan.seqlen_k;
  return internal::CheckPlanRequest(plan.params, shape, plan.query_block_size,
                                    memory);
}

template <typename T>
T* ReadArray(const Scratch& memory, int64_t count, Reader* reader) {
  T* const array = memory.Array<T>(count);
  for (int64_t i = 0; array != nullptr && i < count; ++i) {
    reader->Get(&array[i]);
  }
  return array;
}

}  // namespace

int64_t BytesOf(const SparsePlan& plan) {
  return plan.offsets == nullptr ? 0 : SizeOf(plan, plan.bits != nullptr);
}

Status WriteSparsePlan(const SparsePlan& plan, void* bytes, int64_t size) {
  if (plan.offsets == nullptr) return Invalid("plan", "was never made");
  if (bytes == nullptr) return Invalid("bytes", "are null");
  if (plan.bits == nullptr && plan.num_words != 0) {
    return Invalid("num_words", "must be 0 in a plan without bits")
        .WithValue(plan.num_words);
  }
  if (size != BytesOf(plan)) {
    return Invalid("size", "is not what the plan takes")
        .WithValue(size)
        .WithBound(BytesOf(plan), BoundKind::kNeeds);
  }
  Writer writer(bytes);
  for (const char c : kMagic) writer.Put(c);
  writer.Put(kVersion);
  writer.Put(plan.bits == nullptr ? uint32_t{0} : kHasBits);
  writer.Put(int64_t{plan.params.causal});
  ForEachNumber(
      plan, [&](int64_t number, const char*, int64_t) { writer.Put(number); });
  for (int64_t i = 0; i <= internal::NumLists(plan); ++i) {
    writer.Put(plan.offsets[i]);
  }
  for (int64_t i = 0; i < plan.num_intervals; ++i) {
    writer.Put(plan.intervals[i].begin);
    writer.Put(plan.intervals[i].end);
  }
  if (plan.bits == nullptr) return Status();
  for (int64_t i = 0; i < plan.num_intervals; ++i) writer.Put(plan.bits[i]);
  for (int64_t i = 0; i < plan.num_words; ++i) writer.Put(plan.words[i]);
  return Status();
}

Status ReadSparsePlan(const void* bytes, int64_t size, const Scratch& memory,
                      SparsePlan* plan) {
  SparsePlan made;
  bool has_bits = false;
  Status status = ReadHead(bytes, size, &made, &has_bits);
  if (status.ok()) status = CheckMasks(made, memory);
  if (!status.ok()) return status;
  const int64_t needs = SizeOf(made, has_bits);
  if (needs != size) {
    return Invalid("size", "is not what the plan takes")
        .WithValue(size)
        .WithBound(needs, BoundKind::kNeeds);
  }
  Reader reader(static_cast<const char*>(bytes) + kHeadBytes);
  made.offsets =
      ReadArray<int64_t>(memory, internal::NumLists(made) + 1, &reader);
  KeyInterval* const intervals = memory.Array<KeyInterval>(made.num_intervals);
  if (made.offsets == nullptr || intervals == nullptr) {
    return internal::PlanOutOfMemory();
  }
  for (int64_t i = 0; i < made.num_intervals; ++i) {
    reader.Get(&intervals[i].begin);
    reader.Get(&intervals[i].end);
  }
  made.intervals = intervals;
  if (has_bits) {
    made.bits = ReadArray<int64_t>(memory, made.num_intervals, &reader);
    made.words = ReadArray<uint64_t>(memory, made.num_words, &reader);
    if (made.bits == nullptr || made.words == nullptr) {
      return internal::PlanOutOfMemory();
    }
  }
  status = CheckSparsePlan(made);
  if (status.ok()) *plan = made;
  return status;
}

}  // namespace heed
