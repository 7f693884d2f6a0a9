// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Which keys a variant chooses, as plain sets, and what choices by score are
// made of.
#ifndef HEED_TESTS_VARIANTS_SELECTION_RUN_H_
#define HEED_TESTS_VARIANTS_SELECTION_RUN_H_

#include <cmath>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <set>
#include <string>
#include <vector>

#include "heed/variant.h"
#include "lib/eval/workload.h"

namespace heed::test {

using Keys = std::set<int64_t>;

// The keys that every row kept, under the masks.
class Chosen {
 public:
  // Runs variant `name` with its first knobs set as given, the others at their
  // defaults.
  Chosen(const std::string& name, std::initializer_list<double> knobs,
         const eval::Tensors& tensors);

  const Keys& Row(int64_t batch, int64_t head, int64_t row) const {
    return rows_[static_cast<size_t>((batch * heads_ + head) * seqlen_q_ +
                                     row)];
  }
  // Calls f(batch, head, row) for all of them.
  void ForEachRow(
      const std::function<void(int64_t, int64_t, int64_t)>& f) const;
  // Every row keeps what it keeps in `other`, and maybe more.
  bool Contains(const Chosen& other) const;
  double Density() const { return density_; }

 private:
  int64_t batch_ = 0, heads_ = 0, seqlen_q_ = 0;
  std::vector<Keys> rows_;
  double density_ = 0;
};

// The variant under this name. Fails the test where there is none.
const Variant& VariantNamed(const std::string& name);

// query . key in double.
double Product(const eval::Tensors& tensors, int64_t batch, int64_t head,
               int64_t row, int64_t key);

// The keys of the `total` best blocks, of equal ones the first.
Keys BestBlocks(const std::vector<double>& score, int64_t block, int64_t total,
                int64_t num_keys);

// Keys [0, end) of `keys`.
Keys Below(const Keys& keys, int64_t end);

}  // namespace heed::test

#endif  // HEED_TESTS_VARIANTS_SELECTION_RUN_H_
