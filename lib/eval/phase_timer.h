// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Seconds of a run by what it spends them on.
#ifndef HEED_LIB_EVAL_PHASE_TIMER_H_
#define HEED_LIB_EVAL_PHASE_TIMER_H_

#include <array>
#include <chrono>
#include <cstddef>

#include "heed/variant.h"

namespace heed::eval {

// By the numbers of Phase.
inline constexpr std::array<const char*, 4> kPhaseNames = {"estimate", "select",
                                                           "build", "attend"};
using PhaseSeconds = std::array<double, kPhaseNames.size()>;

// A clock for Variant::run. It must stay where it is while a run has its
// recorder.
class PhaseTimer {
 public:
  PhaseRecorder Recorder() { return {this, &Enter}; }

  // A run begins; it attends until it says otherwise.
  void Begin() {
    phase_ = Phase::kAttend;
    since_ = Clock::now();
  }
  // It ended: adds what its last phase took.
  void End() { Add(); }

  // Of all runs together.
  const PhaseSeconds& seconds() const { return seconds_; }

 private:
  using Clock = std::chrono::steady_clock;

  static void Enter(void* self, Phase phase) {
    PhaseTimer& timer = *static_cast<PhaseTimer*>(self);
    timer.Add();
    timer.phase_ = phase;
  }
  void Add() {
    const Clock::time_point now = Clock::now();
    seconds_[static_cast<size_t>(phase_)] +=
        std::chrono::duration<double>(now - since_).count();
    since_ = now;
  }

  Phase phase_ = Phase::kAttend;
  Clock::time_point since_;
  PhaseSeconds seconds_ = {};
};

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_PHASE_TIMER_H_
