// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Many runs as one: laws of merging, what is kept of each row, what is refused.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "lib/eval/workload.h"
#include "lib/io/input_error.h"
#include "tests/support/quick.h"
#include "tests/tool/comparison_json.h"
#include "tools/heed/merge.h"
#include "tools/heed/numbers.h"

namespace heed::test {
namespace {

const Json& Small() {
  static const Json comparison = CompareJson(
      "--repeats 3 --layers 2,10 --tokens 24 naive window_sink:window=8,16 "
      "linear_elu block_topk:block=8:total_blocks=2");
  return comparison;
}

const Json& Swept() {
  static const Json comparison = CompareJson(
      "--repeats 2 --problem b1_h1_d8_q8_causal naive window_sink:window=4 "
      "--tokens 8,16,24");
  return comparison;
}

tool::RunFile RunOf(const Json& comparison, const std::string& name = "x") {
  return tool::ParseRun(name, comparison.dump());
}

// As read back: what is merged must be a run again.
Json Merge(const std::vector<Json>& comparisons) {
  std::vector<tool::RunFile> runs;
  for (const Json& comparison : comparisons) runs.push_back(RunOf(comparison));
  const std::string text = io::JsonText(tool::MergeRuns(runs));
  tool::ParseRun("merged", text);
  return Json::parse(text);
}

double PhaseSum(const Json& times) {
  double sum = 0;
  for (const Json& phase : times["phases"]) sum += phase.get<double>();
  return sum;
}

// Shares the time out anew, as it was.
void ScalePhases(Json* times) {
  const double factor = (*times)["time"].get<double>() / PhaseSum(*times);
  for (Json& phase : (*times)["phases"]) {
    phase = phase.get<double>() * factor;
  }
}

// Phases are of the times that they stand beside.
void ExpectPhasesOfTime(const Json& times) {
  if (times["time"].is_null()) {
    ASSERT_EQ(times["phases"].size(), 4u);
    for (const Json& phase : times["phases"]) EXPECT_TRUE(phase.is_null());
  } else {
    const double time = times["time"];
    EXPECT_NEAR(PhaseSum(times), time, 1e-9 * time);
  }
  if (!times.contains("layers")) return;
  for (const Json& layer : times["layers"]) ExpectPhasesOfTime(layer);
}

// A run of some of the rows on one of three machines, whose times are its own.
Json Drawn(eval::Random* random) {
  Json run = Small();
  run["environment"]["cpu"] = "CPU " + std::to_string(random->Below(2));
  run["run"]["threads"] = random->Below(2) == 0 ? 1 : 2;
  run["began"] = std::to_string(2000 + random->Below(100));
  run["run"]["left_out"] = Json::array();
  Json rows = Json::array();
  for (Json row : run["rows"]) {
    if (!row["baseline"].get<bool>() && random->Below(2) == 0) {
      run["run"]["left_out"].push_back(row["name"]);
      continue;
    }
    row["time"] = 1.0 + static_cast<double>(random->Below(1000)) / 100;
    row["mad"] = static_cast<double>(random->Below(100)) / 100;
    row["noisy"] = row["mad"].get<double>() > 0.03 * row["time"].get<double>();
    ScalePhases(&row);
    for (Json& layer : row["layers"]) {
      layer["time"] = 0.5 * row["time"].get<double>();
      ScalePhases(&layer);
    }
    rows.push_back(row);
  }
  run["rows"] = rows;
  return run;
}

TEST(Merge, OfOneRunIsTheRun) {
  EXPECT_EQ(Merge({Small()}), Small());
  EXPECT_EQ(Merge({Small(), Small()}), Small());
}

TEST(Merge, IsAssociativeAndIdempotent) {
  eval::Random random(3);
  int machines = 0;
  for (int i = 0; i < (Quick() ? 6 : 25); ++i) {
    const Json a = Drawn(&random), b = Drawn(&random), c = Drawn(&random);
    const Json all = Merge({a, b, c});
    EXPECT_EQ(Merge({Merge({a, b}), c}), all);
    EXPECT_EQ(Merge({a, Merge({b, c})}), all);
    EXPECT_EQ(Merge({all, all}), all);
    EXPECT_EQ(Merge({all, b}), all);
    machines = std::max(
        machines, static_cast<int>(all.value("elsewhere", Json()).size()));
  }
  EXPECT_EQ(machines, 2);
}

bool SameMachine(const Json& a, const Json& b) {
  return a["environment"] == b["environment"] &&
         a["run"]["threads"] == b["run"]["threads"];
}

// Every row of every run is there once, its times beside those of its machine.
TEST(Merge, KeepsQualityOnceAndTimesByMachine) {
  eval::Random random(5);
  for (int i = 0; i < (Quick() ? 6 : 30); ++i) {
    const std::vector<Json> runs = {Drawn(&random), Drawn(&random),
                                    Drawn(&random)};
    const Json all = Merge(runs);
    std::vector<std::string> names;
    for (const Json& row : all["rows"]) names.push_back(row["name"]);
    std::vector<std::string> expected;
    for (const Json& run : runs) {
      for (const Json& row : run["rows"]) {
        if (std::find(expected.begin(), expected.end(), row["name"]) ==
            expected.end()) {
          expected.push_back(row["name"]);
        }
      }
    }
    EXPECT_EQ(names, expected);
    for (const Json& row : all["rows"]) {
      const std::string name = row["name"];
      const Json original = RowOf(Small(), name);
      for (const char* key : {"rel_l2", "mass_mean", "density", "flops",
                              "cosine", "max_abs", "bytes"}) {
        EXPECT_EQ(row[key], original[key]) << key;
      }
      // The first run on the first machine that has the row.
      const Json* timed = nullptr;
      for (const Json& run : runs) {
        if (!SameMachine(run, runs[0])) continue;
        for (const Json& other : run["rows"]) {
          if (timed == nullptr && other["name"] == name) timed = &other;
        }
      }
      EXPECT_EQ(row.value("here", true), timed != nullptr);
      EXPECT_EQ(row["time"], timed == nullptr ? Json() : (*timed)["time"]);
      EXPECT_EQ(row["seconds"].empty(), timed == nullptr);
      ExpectPhasesOfTime(row);
      for (const Json& entry : row.value("elsewhere", Json::array())) {
        ExpectPhasesOfTime(entry);
      }
      // The others, each once.
      for (size_t r = 1; r < runs.size(); ++r) {
        if (SameMachine(runs[r], runs[0])) continue;
        if (r == 2 && SameMachine(runs[2], runs[1])) continue;
        for (const Json& other : runs[r]["rows"]) {
          if (other["name"] != name) continue;
          int found = 0;
          for (const Json& entry : row["elsewhere"]) {
            const Json& machine =
                all["elsewhere"][entry["machine"].get<size_t>() - 1];
            if (!SameMachine(machine, runs[r])) continue;
            EXPECT_EQ(entry["time"], other["time"]);
            ++found;
          }
          EXPECT_EQ(found, 1);
        }
      }
    }
    // No row is left out that is there.
    for (const Json& name : all["run"]["left_out"]) {
      EXPECT_EQ(std::count(names.begin(), names.end(), name), 0) << name;
    }
  }
}

// The stars, by the rule in words, among the rows that the first machine timed.
TEST(Merge, FindsTheFrontierAnew) {
  eval::Random random(11);
  int changed = 0;
  for (int i = 0; i < (Quick() ? 12 : 60); ++i) {
    const Json a = Drawn(&random), b = Drawn(&random);
    const Json all = Merge({a, b});
    const double rounding = 2 * RowOf(all, "exact")["rel_l2"].get<double>();
    const auto error = [&](const Json& row) {
      return std::max(rounding, row["rel_l2"].get<double>());
    };
    for (const Json& row : all["rows"]) {
      if (row["time"].is_null()) {
        EXPECT_EQ(row["pareto"], false);
        continue;
      }
      bool beaten = error(row) >= 1;
      for (const Json& other : all["rows"]) {
        if (other["time"].is_null() || error(other) >= 1) continue;
        if (error(other) > error(row)) continue;
        const double gap =
            other["time"].get<double>() - row["time"].get<double>();
        const double spreads =
            row["mad"].get<double>() + other["mad"].get<double>();
        if (error(other) < error(row)
                ? gap <= spreads
                : gap < -spreads || (row["noisy"] && gap < 0)) {
          beaten = true;
        }
      }
      EXPECT_EQ(row["pareto"], !beaten) << row["name"];
      for (const Json& before : a["rows"]) {
        if (before["name"] == row["name"]) {
          changed += before["pareto"] != row["pareto"];
        }
      }
    }
  }
  EXPECT_GT(changed, 0);
}

void ExpectRefused(const Json& first, const Json& other,
                   const std::string& part) {
  try {
    tool::MergeRuns({RunOf(first, "a.json"), RunOf(other, "b.json")});
    ADD_FAILURE() << part;
  } catch (const io::InputError& error) {
    EXPECT_EQ(error.what(), "'b.json' cannot be merged with 'a.json': " + part);
  }
}

TEST(Merge, RefusesWhatIsMixed) {
  const auto refuse = [](const Json& other, const std::string& part) {
    ExpectRefused(Small(), other, part);
  };
  const auto with = [](const std::string& pointer, const Json& value) {
    Json other = Small();
    other[Json::json_pointer(pointer)] = value;
    return other;
  };
  refuse(with("/environment/version", "9"),
         "environment.version is '9', not '" +
             Small()["environment"]["version"].get<std::string>() + "'");
  refuse(with("/run/at", "mass=0.5"), "run.at is 'mass=0.5', not ''");
  refuse(with("/run/queries", 4), "run.queries is 4, not 0");
  refuse(with("/input/layers/1/hash", "0"),
         "input.layers[1].hash is '0', not '" +
             Small()["input"]["layers"][1]["hash"].get<std::string>() + "'");
  refuse(with("/rows/2/gate", "FAILED"),
         "of window_sink:window=8:sink=4 gate is FAILED, not ok");
  refuse(with("/rows/2/density", 0.5),
         fmt::format("of window_sink:window=8:sink=4 density is 0.5, not {}",
                     Small()["rows"][2]["density"].get<double>()));
  refuse(with("/rows/2/layers/1/cosine", 0.5),
         fmt::format(
             "of window_sink:window=8:sink=4 layers[1].cosine is 0.5, not {}",
             Small()["rows"][2]["layers"][1]["cosine"].get<double>()));
  refuse(
      with("/rows/2/layers/1/heads/density/3", 0.5),
      fmt::format("of window_sink:window=8:sink=4 layers[1].heads.density[3] "
                  "is 0.5, not {}",
                  Small()["rows"][2]["layers"][1]["heads"]["density"][3]
                      .get<double>()));
  refuse(with("/rows/2/row_rel_l2/20", 99.5),
         fmt::format(
             "of window_sink:window=8:sink=4 row_rel_l2[20] is 99.5, not {}",
             Small()["rows"][2]["row_rel_l2"][20].get<double>()));
  Json fewer = Small();
  fewer["input"]["layers"].erase(1);
  for (Json& row : fewer["rows"]) row["layers"].erase(1);
  refuse(fewer, "input.layers are 1, not 2");
  // What is the truth's rounding is the same.
  const double error = Small()["rows"][2]["rel_l2"];
  EXPECT_EQ(Merge({Small(), with("/rows/2/rel_l2", error * (1 + 1e-7))}),
            Small());
}

// A sweep of some rows on another machine or this one, timed anew.
Json SweptPart(const std::string& cpu, const std::vector<int>& rows,
               double factor) {
  Json part = Swept();
  part["environment"]["cpu"] = cpu;
  part["rows"] = Json::array();
  part["sweep"]["rows"] = Json::array();
  for (const int i : rows) {
    part["rows"].push_back(Swept()["rows"][static_cast<size_t>(i)]);
    Json row = Swept()["sweep"]["rows"][static_cast<size_t>(i)];
    for (Json& time : row["time"]) time = time.get<double>() * factor;
    part["sweep"]["rows"].push_back(row);
  }
  return part;
}

TEST(Merge, JoinsSweepsOfTheSameLengths) {
  EXPECT_EQ(Merge({Swept()}), Swept());
  EXPECT_EQ(Merge({Swept(), Swept()}), Swept());
  const Json a = SweptPart("A", {0, 1}, 1), b = SweptPart("A", {0, 2}, 2),
             c = SweptPart("B", {0, 1, 2}, 3);
  const Json all = Merge({a, b, c});
  EXPECT_EQ(Merge({Merge({a, b}), c}), all);
  EXPECT_EQ(Merge({a, Merge({b, c})}), all);
  EXPECT_EQ(Merge({all, c}), all);
  const Json &before = Swept()["sweep"]["rows"], &rows = all["sweep"]["rows"];
  ASSERT_EQ(rows.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(rows[i]["name"], all["rows"][i]["name"]);
    for (const char* key : {"rel_l2", "density", "flops"}) {
      EXPECT_EQ(rows[i][key], before[i][key]) << key;
    }
    for (size_t l = 0; l < 3; ++l) {
      const double time = before[i]["time"][l];
      EXPECT_EQ(rows[i]["time"][l], (i == 2 ? 2 : 1) * time);
      const Json& elsewhere = all["rows"][i]["elsewhere"][0]["sweep"];
      EXPECT_EQ(elsewhere["time"][l], 3 * time);
    }
    EXPECT_EQ(rows[i]["efficiency"], before[i]["efficiency"]);
  }
  // What was not timed on the first machine has no times there.
  const Json other = Merge({a, SweptPart("B", {0, 1, 2}, 3)});
  EXPECT_EQ(other["rows"][2]["here"], false);
  EXPECT_TRUE(other["sweep"]["rows"][2]["time"][1].is_null());
  EXPECT_TRUE(other["sweep"]["rows"][2]["efficiency"].is_null());
  EXPECT_EQ(other["sweep"]["rows"][2]["rel_l2"], before[2]["rel_l2"]);
}

TEST(Merge, RefusesOtherSweeps) {
  const auto refuse = [](const Json& other, const std::string& part) {
    ExpectRefused(Swept(), other, part);
  };
  Json other = Swept();
  other["sweep"]["tokens"][0] = 9;
  refuse(other, "sweep.tokens are 9, 16, 24, not 8, 16, 24");
  other = Swept();
  other.erase("sweep");
  refuse(other, "sweep.tokens are none, not 8, 16, 24");
  other = Swept();
  other["sweep"]["rows"][1]["flops"][1] = 7;
  refuse(other,
         fmt::format("of naive sweep.flops[1] is 7, not {}",
                     Swept()["sweep"]["rows"][1]["flops"][1].get<double>()));
}

// What has a meaning in another place has none here.
TEST(Merge, TakesNoMemberForItsOwn) {
  Json run = Small();
  run["rows"][1]["sweep"] = Json::object();
  for (const char* key : {"sweep", "layers"}) {
    run["rows"][1]["layers"][0][key] = Json::array({Json::object()});
  }
  const Json merged = Merge({run, Small()});
  EXPECT_FALSE(merged["rows"][1].contains("sweep"));
  EXPECT_EQ(merged["rows"][0], Merge({Small()})["rows"][0]);
}

TEST(Merge, ReadsAndWritesFiles) {
  const TemporaryFolder folder;
  folder.Write("a.json", Small().dump());
  Json other = Small();
  other["environment"]["cpu"] = "Other";
  folder.Write("b.json", other.dump());
  const ToolRun run =
      RunTool(folder, "merge a.json b.json --json all.json --html all.html");
  EXPECT_EQ(run.exit_code, 0) << run.error;
  EXPECT_EQ(run.out, "6 rows of 2 files, from 2 machines\n");
  const std::string all = folder.Read("all.json");
  EXPECT_EQ(Json::parse(all)["command"],
            "heed merge a.json b.json --json all.json --html all.html");
  EXPECT_TRUE(Has(folder.Read("all.html"), "heed merge a.json b.json"));
  EXPECT_EQ(RunTool(folder, "merge all.json a.json --json more.json").exit_code,
            0);
  EXPECT_EQ(RunTool(folder, "merge all.json --json -").exit_code, 0);
  EXPECT_EQ(Json::parse(folder.Read("more.json"))["rows"],
            Json::parse(all)["rows"]);
  // What is read is not written, by whatever name.
  for (const char* output :
       {"--html a.json", "--json b.json", "--json ./a.json",
        "--json x.json --html b.json"}) {
    ExpectComplaint(
        RunTool(folder, std::string("merge a.json b.json ") + output),
        "is the input, and would be overwritten");
  }
  EXPECT_EQ(folder.Read("a.json"), Small().dump());
  EXPECT_EQ(folder.Read("b.json"), other.dump());
}

TEST(Merge, RefusesBadOptions) {
  const TemporaryFolder inputs;
  const std::string a = "'" + inputs.Write("a", Small().dump()) + "'";
  ExpectBadInput("merge", "files is required");
  ExpectBadInput("merge " + a, "merge writes --json FILE or --html FILE");
  ExpectBadInput("merge none --json x.json", "cannot read 'none': No such");
  ExpectBadInput("merge " + a + " --json x --html x", "one place");
  ExpectBadInput("merge " + a + " --json x/y", "its folder does not exist");
  ExpectBadInput("merge " + a + " --jsn x", "did you mean '--json'?");
}

}  // namespace
}  // namespace heed::test
