// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// heed info and heed variants: what this machine and this build offer.
#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <string_view>

#include "heed/target.h"
#include "heed/variant.h"
#include "lib/eval/knob_sweep.h"
#include "lib/io/json.h"
#include "tools/heed/commands.h"
#include "tools/heed/environment.h"
#include "tools/heed/results.h"

namespace heed::tool {
namespace {

using io::JsonWriter;

void Put(JsonWriter& writer, const char* key, const char* value) {
  writer.Key(key);
  writer.String(value == nullptr ? "" : value);
}

void PrintInfoJson(const Environment& environment) {
  JsonWriter writer;
  writer.StartObject();
  Put(writer, "format", "heed-info-1");
  writer.Key("environment");
  WriteEnvironment(environment, &writer);
  Put(writer, "default_target", DefaultTarget());
  writer.Key("targets");
  writer.StartArray();
  for (int i = 0; i < NumTargets(); ++i) {
    const TargetInfo target = GetTarget(i);
    writer.StartObject();
    Put(writer, "name", target.name);
    Put(writer, "needs", target.needs);
    writer.Key("usable");
    writer.Bool(target.usable);
    Put(writer, "reason", target.reason);
    writer.Key("vector_bytes");
    writer.Integer(target.vector_bytes);
    writer.Key("same_bits");
    writer.Bool(target.same_bits);
    writer.End();
  }
  writer.End();
  writer.Key("units");
  writer.StartArray();
  for (int i = 0; i < NumUnits(); ++i) {
    const UnitInfo unit = GetUnit(i);
    writer.StartObject();
    Put(writer, "name", unit.name);
    Put(writer, "target", unit.target);
    Put(writer, "serves", unit.serves);
    Put(writer, "needs", unit.needs);
    writer.Key("usable");
    writer.Bool(unit.usable);
    writer.Key("used");
    writer.Bool(unit.used);
    Put(writer, "reason", unit.reason);
    writer.End();
  }
  writer.End();
  writer.End();
  fmt::print("{}\n", writer.Text());
}

void PrintCaches(const Environment& environment) {
  std::string text;
  for (const Cache& cache : environment.caches) {
    const char* kind = cache.type == "Data"          ? "d"
                       : cache.type == "Instruction" ? "i"
                                                     : "";
    text += fmt::format("{}L{}{} {}", text.empty() ? "" : ", ", cache.level,
                        kind, cache.size);
  }
  if (!text.empty()) fmt::print("caches   {}\n", text);
}

void PrintVariantsJson() {
  JsonWriter writer;
  writer.StartObject();
  Put(writer, "format", "heed-variants-1");
  writer.Key("variants");
  writer.StartArray();
  for (const NamedVariant& named : eval::AllVariants()) {
    writer.StartObject();
    Put(writer, "name", named.name);
    Put(writer, "summary", named.variant.summary);
    Put(writer, "paper", named.variant.paper);
    Put(writer, "semantics", SemanticsText(named.variant.semantics));
    writer.Key("causal");
    writer.Bool(!named.variant.non_causal);
    writer.Key("equal_head_dims");
    writer.Bool(named.variant.equal_head_dims);
    writer.Key("knobs");
    writer.StartArray();
    for (int i = 0; i < named.variant.num_knobs; ++i) {
      const Knob& knob = named.variant.knobs[i];
      writer.StartObject();
      Put(writer, "name", knob.name);
      Put(writer, "summary", knob.summary);
      writer.Key("default");
      writer.Number(knob.default_value);
      writer.Key("min");
      writer.Number(knob.min);
      writer.Key("max");
      writer.Number(knob.max);
      writer.Key("integer");
      writer.Bool(knob.integer);
      writer.Key("exact");
      knob.has_exact ? writer.Number(knob.exact_value) : writer.Null();
      writer.End();
    }
    writer.End();
    writer.End();
  }
  writer.End();
  writer.End();
  fmt::print("{}\n", writer.Text());
}

void PrintKnob(const Knob& knob) {
  fmt::print("    {:<12} {} (default {}, {} to {}{}{})\n", knob.name,
             knob.summary, eval::FormatKnobValue(knob.default_value),
             eval::FormatKnobValue(knob.min), eval::FormatKnobValue(knob.max),
             knob.integer ? ", whole" : "",
             knob.has_exact
                 ? "; " + eval::FormatKnobValue(knob.exact_value) + " is exact"
                 : "");
}

}  // namespace

int RunInfo(const Options& options) {
  const Environment environment = ReadEnvironment();
  if (options.json) {
    PrintInfoJson(environment);
    return 0;
  }
  fmt::print("heed     {} ({})\n", environment.version, environment.compiler);
  fmt::print("cpu      {}, {} processors\n", environment.cpu,
             environment.processors);
  PrintCaches(environment);
  fmt::print("kernels  best first; the first usable one is taken\n");
  for (int i = 0; i < NumTargets(); ++i) {
    const TargetInfo target = GetTarget(i);
    const bool taken =
        std::string_view(target.name) == std::string_view(DefaultTarget());
    const std::string width =
        target.usable ? fmt::format("{} bits", 8 * target.vector_bytes) : "-";
    fmt::print("  {} {:<7} {:>9}  {:<12} needs {}; {}{}\n", taken ? '>' : ' ',
               target.name, width, target.usable ? "usable" : "not usable",
               target.needs, target.reason,
               target.same_bits ? "" : "; its bits are its own (no FMA)");
  }
  fmt::print("units    for 16 bits, where numerics are fast\n");
  for (int i = 0; i < NumUnits(); ++i) {
    const UnitInfo unit = GetUnit(i);
    fmt::print("  {} {} on {}  {}; serves {}; needs {}; {}\n",
               unit.used ? '>' : ' ', unit.name, unit.target,
               unit.usable ? "usable" : "not usable", unit.serves, unit.needs,
               unit.reason);
  }
  return 0;
}

int RunVariants(const Options& options) {
  if (options.json) {
    PrintVariantsJson();
    return 0;
  }
  for (const NamedVariant& named : eval::AllVariants()) {
    fmt::print("{}\n    {}\n    {}; checked as {}{}{}\n", named.name,
               named.variant.summary, named.variant.paper,
               SemanticsText(named.variant.semantics),
               named.variant.non_causal ? "; not causal" : "",
               named.variant.equal_head_dims ? "; head_dim_v is head_dim" : "");
    for (int i = 0; i < named.variant.num_knobs; ++i) {
      PrintKnob(named.variant.knobs[i]);
    }
  }
  return 0;
}

}  // namespace heed::tool
