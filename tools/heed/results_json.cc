// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The JSON of a comparison. The report reads it too.
#include <cmath>
#include <vector>

#include "lib/eval/input_hash.h"
#include "tools/heed/numbers.h"
#include "tools/heed/results.h"

namespace heed::tool {
namespace {

using eval::CompareResult;
using eval::Measurement;
using io::JsonWriter;

void Put(JsonWriter& writer, const char* key, const std::string& value) {
  writer.Key(key);
  writer.String(value);
}
void Put(JsonWriter& writer, const char* key, double value) {
  writer.Key(key);
  writer.Number(value);
}
void PutInteger(JsonWriter& writer, const char* key, int64_t value) {
  writer.Key(key);
  writer.Integer(value);
}

template <class Values>
void PutArray(JsonWriter& writer, const char* key, const Values& values) {
  writer.Key(key);
  writer.StartArray();
  for (const double value : values) writer.Number(value);
  writer.End();
}

void WriteSummary(const eval::Summary& row, JsonWriter& writer) {
  const Measurement& cell = row.total;
  for (const NumberInfo& number : Numbers()) {
    Put(writer, number.key, number.value(row));
  }
  Put(writer, "gate", GateText(cell.gate));
  Put(writer, "reason", cell.reason);
  writer.Key("cost_recorded");
  writer.Bool(cell.recorded);
  writer.Key("noisy");
  writer.Bool(row.noisy);
  writer.Key("beaten_by_zeros");
  writer.Bool(row.beaten_by_zeros);
  writer.Key("pareto");
  writer.Bool(row.pareto);
  PutArray(writer, "seconds", cell.seconds);
  PutArray(writer, "row_rel_l2", cell.row_errors);
  writer.Key("phases");
  writer.StartObject();
  for (size_t i = 0; i < cell.phases.size(); ++i) {
    Put(writer, eval::kPhaseNames[i], cell.phases[i]);
  }
  writer.End();
}

// Arrays by head, which take less room than objects.
void WriteHeads(const std::vector<eval::HeadMeasurement>& heads,
                JsonWriter& writer) {
  const auto put = [&](const char* key, double eval::HeadMeasurement::*part) {
    writer.Key(key);
    writer.StartArray();
    for (const eval::HeadMeasurement& head : heads) writer.Number(head.*part);
    writer.End();
  };
  writer.Key("heads");
  writer.StartObject();
  put("density", &eval::HeadMeasurement::density);
  put("mass_mean", &eval::HeadMeasurement::mass_mean);
  put("rel_l2", &eval::HeadMeasurement::rel_l2);
  writer.End();
}

void WriteRow(const CompareResult& result, size_t i, JsonWriter& writer) {
  const eval::Setting& setting = result.settings[i];
  const Variant& variant = setting.variant.variant;
  writer.StartObject();
  Put(writer, "name", eval::FormatSetting(setting));
  Put(writer, "variant", setting.variant.name);
  writer.Key("knobs");
  writer.StartObject();
  for (int k = 0; k < variant.num_knobs; ++k) {
    Put(writer, variant.knobs[k].name, setting.knobs[static_cast<size_t>(k)]);
  }
  writer.End();
  Put(writer, "summary", variant.summary);
  Put(writer, "paper", variant.paper);
  Put(writer, "semantics", SemanticsText(variant.semantics));
  writer.Key("baseline");
  writer.Bool(i == result.baseline);
  WriteSummary(result.rows[i], writer);
  writer.Key("layers");
  writer.StartArray();
  for (const std::vector<eval::Summary>& rows : result.by_layer) {
    writer.StartObject();
    WriteSummary(rows[i], writer);
    WriteHeads(rows[i].total.heads, writer);
    writer.End();
  }
  writer.End();
  writer.End();
}

void WriteRows(const CompareResult& result, JsonWriter& writer) {
  writer.Key("rows");
  writer.StartArray();
  for (size_t i = 0; i < result.rows.size(); ++i) WriteRow(result, i, writer);
  writer.End();
}

// With the hashes of a source, where one is given.
void WriteLayers(const CompareResult& result, const eval::TensorSource* source,
                 JsonWriter& writer) {
  std::vector<eval::LayerIdentity> identities;
  if (source != nullptr) identities = eval::IdentifyLayers(*source);
  writer.Key("layers");
  writer.StartArray();
  for (size_t l = 0; l < result.layers.size(); ++l) {
    const eval::LayerInfo& layer = result.layers[l];
    writer.StartObject();
    Put(writer, "name", layer.name);
    Put(writer, "problem", layer.problem);
    if (source != nullptr) Put(writer, "hash", identities[l].hash);
    PutInteger(writer, "calls", layer.calls);
    PutInteger(writer, "rows", layer.rows);
    PutInteger(writer, "measured_rows", layer.checked_rows);
    writer.Key("heads");
    writer.StartArray();
    for (const int64_t head : layer.heads) writer.Integer(head);
    writer.End();
    writer.End();
  }
  writer.End();
}

void WriteInput(const eval::TensorSource& source, const CompareResult& result,
                const ResultsContext& context, JsonWriter& writer) {
  writer.Key("input");
  writer.StartObject();
  Put(writer, "name", source.name);
  writer.Key("synthetic");
  writer.Bool(context.synthetic);
  writer.Key("metadata");
  writer.StartObject();
  for (const auto& [key, value] : source.metadata) {
    Put(writer, key.c_str(), value);
  }
  writer.End();
  WriteLayers(result, &source, writer);
  writer.End();
}

}  // namespace

const char* GateText(eval::Gate gate) {
  switch (gate) {
    case eval::Gate::kPassed:
      return "ok";
    case eval::Gate::kFailed:
      return "FAILED";
    case eval::Gate::kRefused:
      return "refused";
  }
  return "?";
}

const char* SemanticsText(Semantics semantics) {
  switch (semantics) {
    case Semantics::kExact:
      return "exact";
    case Semantics::kExactOnSelection:
      return "exact on selection";
    case Semantics::kOwnReference:
      return "own reference";
  }
  return "?";
}

void WriteEnvironment(const Environment& environment, JsonWriter* writer) {
  writer->StartObject();
  Put(*writer, "version", environment.version);
  Put(*writer, "compiler", environment.compiler);
  Put(*writer, "cpu", environment.cpu);
  PutInteger(*writer, "processors", environment.processors);
  writer->Key("caches");
  writer->StartArray();
  for (const Cache& cache : environment.caches) {
    writer->StartObject();
    PutInteger(*writer, "level", cache.level);
    Put(*writer, "type", cache.type);
    Put(*writer, "size", cache.size);
    Put(*writer, "shared_by", cache.shared);
    writer->End();
  }
  writer->End();
  writer->End();
}

void WriteContext(const ResultsContext& context, int64_t queries,
                  JsonWriter* writer) {
  writer->Key("environment");
  WriteEnvironment(context.environment, writer);
  writer->Key("run");
  writer->StartObject();
  Put(*writer, "target", context.target);
  Put(*writer, "plan", context.plan);
  PutInteger(*writer, "threads", context.threads);
  PutInteger(*writer, "threads_asked", context.threads_asked);
  Put(*writer, "thread_library", context.thread_library);
  PutInteger(*writer, "repeats", context.repeats);
  PutInteger(*writer, "queries", queries);
  Put(*writer, "at", context.at);
  writer->Key("missed");
  writer->StartArray();
  for (const eval::Setting& setting : context.missed) {
    writer->String(eval::FormatSetting(setting));
  }
  writer->End();
  writer->Key("row_by_row");
  writer->Bool(context.row_by_row);
  writer->Key("left_out");
  writer->StartArray();
  for (const std::string& name : context.left_out) writer->String(name);
  writer->End();
  PutInteger(*writer, "seed", static_cast<int64_t>(context.seed));
  writer->End();
}

std::string ResultsJson(const eval::LengthSweep& sweep,
                        const eval::TensorSource& source,
                        const ResultsContext& context) {
  const CompareResult& result = sweep.results.back();
  JsonWriter writer;
  writer.StartObject();
  Put(writer, "format", "heed-compare-1");
  Put(writer, "command", context.command);
  Put(writer, "began", context.time);
  WriteContext(context, result.queries, &writer);
  WriteInput(source, result, context, writer);
  if (sweep.lengths.size() > 1) {
    writer.Key("sweep");
    WriteSweep(sweep, &writer);
  }
  writer.Key("definitions");
  writer.StartObject();
  for (const NumberInfo& number : Numbers()) {
    Put(writer, number.key, number.meaning);
  }
  for (const FlagInfo& flag : Flags()) Put(writer, flag.key, flag.meaning);
  writer.End();
  PutArray(writer, "row_quantiles", eval::kRowQuantiles);
  writer.Key("headings");
  writer.StartObject();
  for (const NumberInfo& number : Numbers()) {
    Put(writer, number.key, number.heading);
  }
  writer.End();
  WriteRows(result, writer);
  if (context.row_by_row && sweep.lengths.size() > 1) {
    writer.Key("shorter");
    writer.StartArray();
    for (size_t l = 0; l + 1 < sweep.results.size(); ++l) {
      writer.StartObject();
      WriteLayers(sweep.results[l], nullptr, writer);
      WriteRows(sweep.results[l], writer);
      writer.End();
    }
    writer.End();
  }
  writer.End();
  return writer.Text() + "\n";
}

}  // namespace heed::tool
