// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Files into trees, and what is asked of a tree.
#include "tools/heed/run_file.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include "lib/io/input_error.h"
#include "lib/io/quoted.h"
#include "tools/heed/run_form.h"

namespace heed::tool {
namespace {

using io::JsonValue;

std::string ReadText(const std::string& path) {
  const auto fail = [&path](const std::string& why) {
    throw io::InputError("cannot read " + io::Quoted(path) + ": " + why);
  };
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) fail("it is a directory");
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(std::strerror(errno));
  // read() sets bad() where the system fails; a stream copied from rdbuf()
  // keeps that to itself.
  std::string text;
  char part[1 << 16];
  do {
    file.read(part, sizeof(part));
    text.append(part, static_cast<size_t>(file.gcount()));
  } while (file);
  if (file.bad()) fail("it could not be read to its end");
  return text;
}

}  // namespace

RunFile ParseRun(const std::string& path, std::string_view text) {
  RunFile run;
  run.path = path;
  try {
    run.tree = io::ReadJson(text);
  } catch (const io::InputError& error) {
    throw io::InputError(io::Quoted(path) + " " + error.what());
  }
  CheckForm(path, run.tree);
  return run;
}

RunFile ReadRun(const std::string& path) {
  return ParseRun(path, ReadText(path));
}

bool IsNumber(const JsonValue& value) {
  return value.kind == JsonValue::Kind::kNumber ||
         value.kind == JsonValue::Kind::kInteger;
}

const JsonValue& PartOf(const JsonValue& object, std::string_view key) {
  return *object.Find(key);
}

const std::string& TextOf(const JsonValue& object, std::string_view key) {
  return object.Find(key)->text;
}

double NumberIn(const JsonValue& object, std::string_view key) {
  const JsonValue& value = PartOf(object, key);
  return IsNumber(value) ? value.number
                         : std::numeric_limits<double>::quiet_NaN();
}

const std::vector<JsonValue>& RowsOf(const RunFile& run) {
  return PartOf(run.tree, "rows").items;
}

const JsonValue* FindRow(const RunFile& run, std::string_view name) {
  for (const JsonValue& row : RowsOf(run)) {
    if (TextOf(row, "name") == name) return &row;
  }
  return nullptr;
}

std::vector<int64_t> LengthsOf(const RunFile& run) {
  std::vector<int64_t> lengths;
  if (const JsonValue* sweep = run.tree.Find("sweep")) {
    for (const JsonValue& length : PartOf(*sweep, "tokens").items) {
      lengths.push_back(length.integer);
    }
  }
  return lengths;
}

RunInput InputOf(const RunFile& run) {
  RunInput input;
  for (const JsonValue& layer :
       PartOf(PartOf(run.tree, "input"), "layers").items) {
    input.layers.push_back({TextOf(layer, "name"), TextOf(layer, "problem"),
                            TextOf(layer, "hash")});
  }
  input.queries = PartOf(PartOf(run.tree, "run"), "queries").integer;
  return input;
}

std::string InputDifference(const RunInput& there, const RunInput& here) {
  if (there.layers.size() != here.layers.size()) {
    return fmt::format("input.layers are {}, not {}", there.layers.size(),
                       here.layers.size());
  }
  if (there.queries != here.queries) {
    return fmt::format("run.queries is {}, not {}", there.queries,
                       here.queries);
  }
  // The problem first, of which the hash is a consequence. A synthetic layer
  // bears its problem's name.
  for (size_t i = 0; i < here.layers.size(); ++i) {
    for (const auto& [key, part] :
         {std::pair{"problem", &eval::LayerIdentity::problem},
          std::pair{"name", &eval::LayerIdentity::name},
          std::pair{"hash", &eval::LayerIdentity::hash}}) {
      const std::string &a = there.layers[i].*part, &b = here.layers[i].*part;
      if (a == b) continue;
      return fmt::format("input.layers[{}].{} is {}, not {}", i, key,
                         io::Quoted(a), io::Quoted(b));
    }
  }
  return "";
}

}  // namespace heed::tool
