// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What the example asks of MPI: two collective calls, which count what comes
// from other ranks.
#ifndef HEED_EXAMPLES_CONTEXT_PARALLEL_MPI_RANKS_H_
#define HEED_EXAMPLES_CONTEXT_PARALLEL_MPI_RANKS_H_

#include <mpi.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "spread.h"

namespace context_parallel {

class Ranks {
 public:
  explicit Ranks(MPI_Comm comm);

  int size() const { return size_; }
  int rank() const { return rank_; }

  // Every rank has written its own rows of `all`, floats [rows][row_floats];
  // those of rank r are rows_of(r). Brings the others'.
  void GatherRows(const std::function<Range(int rank)>& rows_of,
                  int64_t row_floats, float* all);

  // Sends `send`, which holds count(own rank, to) floats for each rank in turn.
  // Returns what came from each rank in turn.
  std::vector<float> AllToAll(
      const std::vector<float>& send,
      const std::function<int64_t(int from, int to)>& count);

  // Bytes that came from other ranks since the last call.
  int64_t TakeReceived();

  // Returns the sum of count(own rank, to): what a rank sends.
  int64_t SumTo(const std::function<int64_t(int from, int to)>& count) const;

  // Sums over ranks.
  int64_t Sum(int64_t number) const;

 private:
  MPI_Comm comm_;
  int size_ = 0, rank_ = 0;
  int64_t received_ = 0;
};

}  // namespace context_parallel

#endif  // HEED_EXAMPLES_CONTEXT_PARALLEL_MPI_RANKS_H_
