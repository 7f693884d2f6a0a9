// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Threads that arrive as "i of n", as in an engine that owns its workers: each
// takes every n-th task, and all wait for one another between phases.
#ifndef HEED_TESTS_SUPPORT_TEAM_H_
#define HEED_TESTS_SUPPORT_TEAM_H_

#include <barrier>
#include <cstdint>
#include <thread>
#include <vector>

#include "heed/attention.h"

namespace heed::test {

inline void RunByTeam(const AttentionRun& run, int workers) {
  std::barrier barrier(workers);
  const auto member = [&](int worker) {
    for (int phase = 0; phase < NumPhases(run); ++phase) {
      for (int64_t i = worker; i < NumTasks(run, phase); i += workers) {
        RunTask(run, phase, i, worker);
      }
      barrier.arrive_and_wait();
    }
  };
  std::vector<std::thread> threads;
  for (int worker = 1; worker < workers; ++worker) {
    threads.emplace_back(member, worker);
  }
  member(0);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace heed::test

#endif  // HEED_TESTS_SUPPORT_TEAM_H_
