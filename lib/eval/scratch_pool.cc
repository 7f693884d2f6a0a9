// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A bump allocator that settles on a single block.
#include "lib/eval/scratch_pool.h"

#include <algorithm>
#include <cstdlib>
#include <limits>

namespace heed::eval {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kMaxBytes = std::numeric_limits<size_t>::max() / 2;

}  // namespace

void ScratchPool::Free::operator()(void* data) const { std::free(data); }

Scratch ScratchPool::Begin() {
  if (blocks_.size() > 1) {
    blocks_.clear();
    AddBlock(high_water_);
  }
  used_ = 0;
  asked_ = 0;
  return Scratch{this, &ScratchPool::Allocate};
}

bool ScratchPool::AddBlock(size_t bytes) {
  void* data = std::aligned_alloc(kAlignment, bytes);
  if (data == nullptr) return false;
  blocks_.push_back(Block{std::unique_ptr<void, Free>(data), bytes});
  used_ = 0;
  return true;
}

void* ScratchPool::Allocate(void* self, size_t bytes) {
  ScratchPool& pool = *static_cast<ScratchPool*>(self);
  if (bytes > kMaxBytes) return nullptr;
  // Never null for zero bytes: null means that there is no memory.
  bytes =
      std::max(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  if (pool.blocks_.empty() || pool.blocks_.back().bytes - pool.used_ < bytes) {
    if (!pool.AddBlock(bytes)) return nullptr;
  }
  char* data = static_cast<char*>(pool.blocks_.back().data.get()) + pool.used_;
  pool.used_ += bytes;
  pool.asked_ += bytes;
  pool.high_water_ = std::max(pool.high_water_, pool.asked_);
  return data;
}

}  // namespace heed::eval
