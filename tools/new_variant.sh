#!/usr/bin/env bash
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# Writes a commented skeleton of a new variant. The file is all that there is to
# do: the next build finds it, tests it, benchmarks it and offers it in the tool.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: tools/new_variant.sh NAME [DIR]

Writes DIR/NAME.cc (DIR: variants/sparse of this repository), an attention variant
that works: fill in the idea. NAME is lower-case letters, digits and
underscores, a letter first. For a DIR of your own, configure with
-DHEED_VARIANTS_DIR=DIR.
EOF
}

fail() {
  echo "new_variant.sh: $1" >&2
  exit 2
}

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  usage
  exit 0
fi
if [[ $# -lt 1 || $# -gt 2 ]]; then
  usage >&2
  exit 2
fi
name=$1
variants=$(cd "$(dirname "${BASH_SOURCE[0]}")/../variants" && pwd)
dir=${2:-$variants/sparse}

# C++ words that would pass for a name.
reserved=" alignas alignof and asm auto bitand bitor bool break case catch char
 class compl concept const consteval constexpr constinit continue decltype
 default delete do double else enum explicit export extern false float for
 friend goto if inline int long mutable namespace new noexcept not nullptr
 operator or private protected public register requires return short signed
 sizeof static struct switch template this throw true try typedef typeid
 typename union unsigned using virtual void volatile while xor "
[[ $name =~ ^[a-z][a-z0-9_]*$ ]] ||
  fail "'$name' is no variant name: lower-case letters, digits and underscores, a letter first"
[[ " ${reserved//$'\n'/ } " != *" $name "* ]] ||
  fail "'$name' is a word of C++"
[[ -d $dir ]] || fail "'$dir' is not a folder"
for folder in "$variants"/*/ "$dir"; do
  folder=${folder%/}
  [[ ! -e $folder/$name.cc ]] || fail "there is already a variant '$name': $folder/$name.cc"
done

sed "s/@NAME@/$name/g" >"$dir/$name.cc" <<'EOF'
// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// @NAME@
//
// What it computes, as a formula, and from which paper. As it stands, each
// query attends to every key that lies a multiple of `stride` away.
//
// The tests hold every variant to what its `semantics` promises:
//   kExact             softmax attention with the caller's masks
//   kExactOnSelection  softmax attention over the pairs that it records
//   kOwnReference      its own function Reference, in plain double
// and check, for any shape, that bad input is refused, that the result does not
// depend on the threads, and that later keys do not change earlier rows.
#include <heed/ops.h>
#include <heed/variant.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace heed::variants {
namespace {

// What a user may set behind the name, as in `:stride=4`. At most kMaxKnobs.
constexpr Knob kKnobs[] = {
    {.name = "stride",
     .summary = "Distance between the keys that a query attends to.",
     .default_value = 4,
     .min = 1,
     .max = 1 << 20,
     .integer = true,
     // The value that gives exact attention, where there is one.
     .has_exact = true,
     .exact_value = 1},
};

// The idea: whether the query at `position` attends to `key`.
bool Keeps(int64_t position, int64_t key, int64_t stride) {
  const int64_t distance = std::abs(position - key);
  return distance % stride == 0;
}

// One query row of one head. `weight` holds as many floats as there are keys.
void AttendRow(const VariantArgs& a, int64_t batch, int64_t head, int64_t row,
               float* weight) {
  const AttentionArgs& t = a.args;
  const int64_t kv_head = head / (t.query.heads() / t.key.heads());
  const int64_t dim = t.query.head_dim();
  const int64_t dim_v = t.value.head_dim();
  const int64_t position =
      row + ops::CausalOffset(a.params, t.query.seqlen(), t.key.seqlen());
  const int64_t stride = static_cast<int64_t>(a.knobs[0]);
  const float scale = ops::SoftmaxScale(a.params, dim);
  const float* query = RowAt(t.query, batch, row, head);

  // Scores of the kept keys, in rising order. ForEachVisible applies the
  // caller's masks, so a masked key is never read.
  int64_t kept = 0;
  ops::ForEachVisible(a.params, t, batch, head, row,
                      [&](int64_t begin, int64_t end) {
                        for (int64_t key = begin; key < end; ++key) {
                          if (!Keeps(position, key, stride)) continue;
                          const float* k = RowAt(t.key, batch, key, kv_head);
                          weight[kept++] = scale * ops::Dot(query, k, dim);
                          // Tells the checks and the tool which pairs count.
                          a.selection.Keep(batch, head, row, key, key + 1);
                        }
                      });

  const float lse = ops::Softmax(weight, kept);
  if (!t.lse.absent()) *RowAt(t.lse, batch, row, head) = lse;

  // The same keys again, weighted. A row that keeps nothing is zero.
  float* out = RowAt(t.out, batch, row, head);
  std::fill(out, out + dim_v, 0.0f);
  kept = 0;
  ops::ForEachVisible(a.params, t, batch, head, row,
                      [&](int64_t begin, int64_t end) {
                        for (int64_t key = begin; key < end; ++key) {
                          if (!Keeps(position, key, stride)) continue;
                          const float* v = RowAt(t.value, batch, key, kv_head);
                          ops::Axpy(weight[kept++], v, out, dim_v);
                        }
                      });
}

Status RunVariant(const VariantArgs& a) {
  // Say what is not served; write nothing before the last such check. Shapes
  // and knob ranges were checked by the caller.
  if (a.params.softcap != 0) {
    return Status(StatusCode::kUnsupported, "softcap",
                  "the variant does not cap its scores");
  }
  // All memory comes from the scratch, whose size the tool reports; a worker
  // may use its own share.
  const ConstTensorView& query = a.args.query;
  const int64_t keys = a.args.key.seqlen();
  float* weight = a.scratch.Array<float>(a.executor.max_workers * keys);
  if (weight == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "the weights of a row a worker could not be allocated");
  }
  // One task a row here; faster variants take a block of rows, ops::MatMul and
  // ops::Attend (this library's exact kernel): see the files beside exact.cc.
  const int64_t rows = query.seqlen();
  ops::ParallelFor(a.executor, query.batch() * query.heads() * rows,
                   [&](int64_t i, int worker) {
                     const int64_t head = i / rows;
                     AttendRow(a, head / query.heads(), head % query.heads(),
                               i % rows, weight + worker * keys);
                   });
  return Status();
}

// Operations and bytes by the method's own formula; touches no tensors.
Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const int64_t stride = static_cast<int64_t>(knobs[0]);
  double pairs = 0;  // that one head keeps
  for (int64_t row = 0; row < shape.seqlen_q; ++row) {
    const ops::VisibleKeys see =
        ops::VisibleTo(params, shape.seqlen_q, shape.seqlen_k, row);
    const int64_t position =
        row + ops::CausalOffset(params, shape.seqlen_q, shape.seqlen_k);
    for (int64_t key = 0; key < see.end; ++key) {
      if (key >= see.sink_end && key < see.begin) continue;
      if (Keeps(position, key, stride)) ++pairs;
    }
  }
  return ops::SoftmaxCost(shape, pairs);
}

}  // namespace

Variant @NAME@() {
  return {.summary = "One sentence for `heed variants`.",
          .paper = "Authors, year, identifier",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 1,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
EOF

echo "wrote $dir/$name.cc; build, and it is tested, benchmarked and listed"
