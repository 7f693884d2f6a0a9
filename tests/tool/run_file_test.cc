// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a file must hold to be a run.
#include "tools/heed/run_file.h"

#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

#include "lib/io/input_error.h"
#include "tests/tool/comparison_json.h"
#include "tests/tool/quiet_runs.h"
#include "tools/heed/numbers.h"

namespace heed::test {
namespace {

// Whatever field is missing or of another type is told by its name.
TEST(RunFile, RefusesFilesThatAreNoComparison) {
  const auto refuse = [](const Json& run, const std::string& part) {
    try {
      RunOf(run);
      ADD_FAILURE() << part;
    } catch (const io::InputError& error) {
      EXPECT_TRUE(Has(error.what(), part)) << error.what();
    }
  };
  for (const auto& [key, value] : Swept().items()) {
    if (key == "definitions" || key == "headings" || key == "sweep") continue;
    Json run = Swept();
    run[key] = 7;
    refuse(run, key + " is not of its type");
    run.erase(key);
    refuse(run, key + " is missing");
  }
  for (const auto& [key, value] : Small()["rows"][1].items()) {
    if (key == "variant" || key == "knobs" || key == "summary" ||
        key == "paper" || key == "semantics") {
      continue;
    }
    Json run = Small();
    run["rows"][1].erase(key);
    refuse(run, "rows[1]." + key + " is missing");
  }
  for (const char* key : {"time", "mad"}) {
    Json run = Small();
    run["rows"][1][key] = -1e-9;
    refuse(run, std::string("rows[1].") + key + " is negative");
  }
  for (const auto& [pointer, value, part] :
       {std::tuple{"/rows/1/seconds/0", Json(-1), "seconds holds what is neg"},
        std::tuple{"/rows/1/phases/select", Json("a"), "select is not of its"},
        std::tuple{"/rows/1/phases/select", Json(-1), "phases.select is neg"},
        std::tuple{"/rows/1/phases/other", Json(1), "more than the phases"},
        std::tuple{"/rows/1/layers/0/phases", Json::object(),
                   "layers[0].phases.estimate is missing"},
        std::tuple{"/rows/1/row_rel_l2", Json{1, 2}, "row_rel_l2 has not a"},
        std::tuple{"/rows/1/row_rel_l2/3", Json("a"), "row_rel_l2 holds what"},
        std::tuple{"/row_quantiles/3", Json(0.11), "row_quantiles are not"},
        std::tuple{"/rows/1/baseline", Json(true), "rows has 2 baselines"},
        std::tuple{"/rows/0/baseline", Json(false), "rows has 0 baselines"}}) {
    Json run = Small();
    run[Json::json_pointer(pointer)] = value;
    refuse(run, part);
  }
  // Of another machine there are times, and nothing else.
  Json run = Small();
  const Json machine = {{"environment", run["environment"]},
                        {"run", run["run"]}};
  run["elsewhere"] = Json::array({machine});
  Json timing = {{"machine", 1}, {"layers", Json::array()}};
  for (const char* key : {"noisy", "pareto", "seconds", "phases"}) {
    timing[key] = run["rows"][1][key];
  }
  for (const tool::NumberInfo& number : tool::Numbers()) {
    if (number.kind != tool::NumberKind::kQuality) {
      timing[number.key] = run["rows"][1][number.key];
    }
  }
  timing["layers"].push_back(timing);
  timing["layers"][0].erase("machine");
  timing["layers"][0].erase("layers");
  run["rows"][1]["elsewhere"] = Json::array({timing});
  RunOf(run);
  run["rows"][1]["elsewhere"][0]["rel_l2"] = 1;
  refuse(run, "elsewhere.'rel_l2' belongs to no machine");
  run["rows"][1]["elsewhere"][0] = timing;
  run["rows"][1]["elsewhere"][0]["layers"][0]["gate"] = "ok";
  refuse(run, "elsewhere.layers.'gate' belongs to no machine");
  run = Small();
  run["rows"][1]["name"] = "a\x1b[31m";
  refuse(run, "rows[1].name is none");
  run["rows"][1]["name"] = run["rows"][0]["name"];
  refuse(run, "rows has 'exact' twice");
  run["rows"] = Json::array();
  refuse(run, "rows is empty");
  run = Swept();
  run["sweep"]["rows"].erase(0);
  refuse(run, "sweep.rows are not as many");
  run = Swept();
  run["sweep"]["rows"][0]["time"].erase(0);
  refuse(run, "time has not a number for each");
  run = Swept();
  run["sweep"]["rows"][1]["time"][0] = -1;
  refuse(run, "sweep.rows[1].time is negative");
  run["sweep"]["rows"][1]["time"][0] = "a";
  refuse(run, "sweep.rows[1].time holds what is no number");
  run["sweep"]["tokens"][0] = 0.5;
  refuse(run, "sweep.tokens holds what is no length");
  run = Swept();
  run["shorter"] = Json::array();
  refuse(run, "shorter has not each of the tokens but the last");
  const Json length = {{"layers", run["input"]["layers"]},
                       {"rows", run["rows"]}};
  run["shorter"] = {length, length};
  RunOf(run);
  run["shorter"][1]["rows"].erase(1);
  refuse(run, "shorter[1].rows are not those of the longest length");
  run["shorter"][1]["rows"] = Json::array({7});
  refuse(run, "shorter[1].rows[0].name is missing");
  run = Small();
  run["shorter"] = Json::array();
  refuse(run, "shorter has not each of the tokens but the last");
}

}  // namespace
}  // namespace heed::test
