// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "ranks.h"

#include <climits>
#include <cstdio>

namespace context_parallel {
namespace {

// MPI counts in int. Longer messages must be sent in parts.
int Count(MPI_Comm comm, int64_t number) {
  if (number <= INT_MAX) return static_cast<int>(number);
  std::fprintf(stderr, "%lld are more than a message of MPI counts\n",
               static_cast<long long>(number));
  MPI_Abort(comm, 1);
  return 0;
}

}  // namespace

Ranks::Ranks(MPI_Comm comm) : comm_(comm) {
  MPI_Comm_size(comm, &size_);
  MPI_Comm_rank(comm, &rank_);
}

void Ranks::GatherRows(const std::function<Range(int rank)>& rows_of,
                       int64_t row_floats, float* all) {
  // Rows as one type: counts are tokens, which an int holds.
  MPI_Datatype row;
  MPI_Type_contiguous(Count(comm_, row_floats), MPI_FLOAT, &row);
  MPI_Type_commit(&row);
  std::vector<int> counts, places;
  for (int rank = 0; rank < size_; ++rank) {
    const Range rows = rows_of(rank);
    counts.push_back(Count(comm_, rows.count()));
    places.push_back(Count(comm_, rows.begin));
    if (rank != rank_) received_ += rows.count() * row_floats * 4;
  }
  MPI_Allgatherv(MPI_IN_PLACE, 0, row, all, counts.data(), places.data(), row,
                 comm_);
  MPI_Type_free(&row);
}

std::vector<float> Ranks::AllToAll(
    const std::vector<float>& send,
    const std::function<int64_t(int from, int to)>& count) {
  std::vector<int> sent, sent_at, got, got_at;
  int64_t send_end = 0, end = 0;
  for (int rank = 0; rank < size_; ++rank) {
    sent_at.push_back(Count(comm_, send_end));
    got_at.push_back(Count(comm_, end));
    sent.push_back(Count(comm_, count(rank_, rank)));
    got.push_back(Count(comm_, count(rank, rank_)));
    send_end += sent.back();
    end += got.back();
    if (rank != rank_) received_ += int64_t{4} * got.back();
  }
  std::vector<float> received(static_cast<size_t>(end));
  MPI_Alltoallv(send.data(), sent.data(), sent_at.data(), MPI_FLOAT,
                received.data(), got.data(), got_at.data(), MPI_FLOAT, comm_);
  return received;
}

int64_t Ranks::TakeReceived() {
  const int64_t received = received_;
  received_ = 0;
  return received;
}

int64_t Ranks::SumTo(
    const std::function<int64_t(int from, int to)>& count) const {
  int64_t sum = 0;
  for (int to = 0; to < size_; ++to) sum += count(rank_, to);
  return sum;
}

int64_t Ranks::Sum(int64_t number) const {
  long long mine = number, sum = 0;
  MPI_Allreduce(&mine, &sum, 1, MPI_LONG_LONG, MPI_SUM, comm_);
  return sum;
}

}  // namespace context_parallel
