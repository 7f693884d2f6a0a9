// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Where each number comes from, what it is called and how it is shown.
#include "tools/heed/numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace heed::tool {
namespace {

using eval::Summary;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Fixed digits, so that columns compare at a glance; where those would show
// next to nothing, two that do.
std::string Amount(int digits, double value) {
  if (std::isnan(value)) return "-";
  const bool tiny = value != 0 && value < std::pow(10.0, 1 - digits);
  return tiny ? fmt::format("{:.2g}", value)
              : fmt::format("{:.{}f}", value, digits);
}

template <int kDigits>
std::string Fixed(double value) {
  return std::isnan(value) ? "-" : fmt::format("{:.{}f}", value, kDigits);
}

std::string Scientific(double value) {
  return std::isnan(value) ? "-" : fmt::format("{:.1e}", value);
}

// Nothing is known of a run that was refused.
double IfRan(const Summary& row, double value) {
  return row.total.gate == eval::Gate::kRefused ? kNaN : value;
}

double PerToken(const Summary& row, double value) {
  return row.tokens > 0 ? IfRan(row, value / row.tokens) : kNaN;
}

const std::vector<NumberInfo> kNumbers = {
    {"time", "time ms",
     "seconds a run, median over rounds; over layers the sum of a round. In a "
     "round every row runs once.",
     NumberKind::kTime, [](const Summary& row) { return row.median_seconds; },
     [](Summary* row, double v) { row->median_seconds = v; },
     [](double seconds) { return Amount(2, 1e3 * seconds); }},
    {"token_time", "ms/token", "time of a token, which passes every layer",
     NumberKind::kTime,
     [](const Summary& row) { return PerToken(row, row.median_seconds); },
     nullptr, [](double seconds) { return Amount(3, 1e3 * seconds); }},
    {"mad", "",
     "median absolute deviation of the rounds' seconds; none for one round",
     NumberKind::kTime, [](const Summary& row) { return row.mad_seconds; },
     [](Summary* row, double v) { row->mad_seconds = v; }, Scientific},
    {"spread", "+-", "mad over time", NumberKind::kTime,
     [](const Summary& row) { return row.mad_seconds / row.median_seconds; },
     nullptr,
     [](double share) {
       return std::isnan(share) ? "-" : fmt::format("{:.1f}%", 100 * share);
     }},
    {"tokens_per_second", "tokens/s", "tokens over time", NumberKind::kTime,
     [](const Summary& row) {
       return row.tokens > 0 ? row.tokens / row.median_seconds : kNaN;
     },
     nullptr, Fixed<0>},
    {"speedup", "x exact",
     "time of `exact` over this row's, same threads, same rounds",
     NumberKind::kTime, [](const Summary& row) { return row.speedup; },
     [](Summary* row, double v) { row->speedup = v; }, Fixed<2>},
    {"flops", "GFLOP",
     "operations, multiply and add being two: 2 (head_dim + head_dim_v) for "
     "each pair that was recorded as kept, and what choosing them took; where "
     "nothing is recorded, by the variant's own formula",
     NumberKind::kQuality,
     [](const Summary& row) { return IfRan(row, row.total.cost.flops); },
     [](Summary* row, double v) { row->total.cost.flops = v; },
     [](double flops) { return Amount(3, flops * 1e-9); }},
    {"select_flops", "", "of these, what choosing took by the formula",
     NumberKind::kQuality,
     [](const Summary& row) { return IfRan(row, row.total.cost.select_flops); },
     [](Summary* row, double v) { row->total.cost.select_flops = v; },
     [](double flops) { return Amount(3, flops * 1e-9); }},
    {"bytes", "MB",
     "bytes to move at least: queries and output once, every key and value "
     "that some row of its group kept once, and what choosing reads; where "
     "nothing is recorded, by the variant's own formula",
     NumberKind::kQuality,
     [](const Summary& row) { return IfRan(row, row.total.cost.bytes); },
     [](Summary* row, double v) { row->total.cost.bytes = v; },
     [](double bytes) { return Amount(2, bytes * 1e-6); }},
    {"kv_bytes", "",
     "keys and values that the pairs kept need, each once, and what choosing "
     "them reads; where nothing is recorded, all that the masks leave",
     NumberKind::kQuality,
     [](const Summary& row) { return IfRan(row, row.total.kv_bytes); },
     [](Summary* row, double v) { row->total.kv_bytes = v; },
     [](double bytes) { return Amount(2, bytes * 1e-6); }},
    {"token_kv_bytes", "KV KiB/token", "kv_bytes of a token, over all layers",
     NumberKind::kQuality,
     [](const Summary& row) { return PerToken(row, row.total.kv_bytes); },
     nullptr, [](double bytes) { return Amount(1, bytes / 1024); }},
    {"workspace_bytes", "work KiB",
     "most memory asked for beside input and output; over layers the maximum",
     NumberKind::kMachine,
     [](const Summary& row) {
       return IfRan(row, static_cast<double>(row.total.workspace));
     },
     [](Summary* row, double v) {
       row->total.workspace = v >= 0 && v < 1e18 ? static_cast<size_t>(v) : 0;
     },
     [](double bytes) { return Fixed<0>(std::ceil(bytes / 1024)); }},
    {"density", "density",
     "pairs kept over pairs that the masks allow; mean over layers",
     NumberKind::kQuality, [](const Summary& row) { return row.total.density; },
     [](Summary* row, double v) { row->total.density = v; }, Fixed<3>},
    {"mass_mean", "mass",
     "share of the exact attention weights that the kept keys hold, exp(lse - "
     "lse_exact): mean over rows, then over layers. lse is f32, so that a "
     "share is known to about 1e-7 |lse|: to 1 % where scores are near 1e5, "
     "and exact's own may pass 1 by as much",
     NumberKind::kQuality,
     [](const Summary& row) { return row.total.mass_mean; },
     [](Summary* row, double v) { row->total.mass_mean = v; }, Fixed<4>},
    {"mass_p05", "mass p05",
     "5th percentile over rows of the same; mean over layers",
     NumberKind::kQuality,
     [](const Summary& row) { return row.total.mass_p05; },
     [](Summary* row, double v) { row->total.mass_p05 = v; }, Fixed<4>},
    {"rel_l2", "rel L2",
     "|out - truth| over |truth|, truth being attention in double precision; "
     "mean over layers",
     NumberKind::kQuality, [](const Summary& row) { return row.total.rel_l2; },
     [](Summary* row, double v) { row->total.rel_l2 = v; }, Scientific},
    {"max_abs", "max abs", "largest absolute error; over layers the maximum",
     NumberKind::kQuality, [](const Summary& row) { return row.total.max_abs; },
     [](Summary* row, double v) { row->total.max_abs = v; }, Scientific},
    {"cosine", "cosine", "cosine between out and truth; mean over layers",
     NumberKind::kQuality, [](const Summary& row) { return row.total.cosine; },
     [](Summary* row, double v) { row->total.cosine = v; }, Fixed<6>},
};

const std::vector<FlagInfo> kFlags = {
    {"gate", "",
     "ok where the result holds what its variant promises, checked before any "
     "time is shown; else the reason is given"},
    {"phases", "",
     "time by what it is spent on: estimate what blocks or keys hold, select "
     "among them, build lists, attend; by its shares over all rounds"},
    {"row_rel_l2", "",
     "rel_l2 of each query row of each head by itself, over all layers: its "
     "quantiles at row_quantiles"},
    {"noisy", "!", "the spread is over 3 % of the time: compare again"},
    {"beaten_by_zeros", "#",
     "an output of zeros would be as near to the truth, or nearer"},
    {"pareto", "*",
     "on the frontier: no other row is as accurate and faster by more than "
     "both their spreads, or more accurate and not so much slower. Errors up "
     "to twice that of `exact` are rounding, and the same; a noisy row must be "
     "the fastest of its error; # is never on it"},
};

}  // namespace

const std::vector<NumberInfo>& Numbers() { return kNumbers; }

const NumberInfo& NumberOf(std::string_view key) {
  return *std::find_if(
      kNumbers.begin(), kNumbers.end(),
      [key](const NumberInfo& number) { return number.key == key; });
}

const std::vector<FlagInfo>& Flags() { return kFlags; }

}  // namespace heed::tool
