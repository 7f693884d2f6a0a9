// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Two runs: nothing changed, one number changed, and runs that do not compare.
#include "tools/heed/against.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "lib/eval/workload.h"
#include "lib/io/input_error.h"
#include "tests/tool/comparison_json.h"
#include "tests/tool/quiet_runs.h"
#include "tools/heed/numbers.h"
#include "tools/heed/time_change.h"

namespace heed::test {
namespace {

using tool::Against;
using tool::CompareRuns;

Against Compare(const Json& old, const Json& now) {
  return CompareRuns(RunOf(old), RunOf(now));
}

TEST(Against, IsEmptyForARunAndItself) {
  for (const Json* run : {&Small(), &Swept()}) {
    const Against against = Compare(*run, *run);
    EXPECT_TRUE(against.changes.empty());
    EXPECT_TRUE(against.only_old.empty());
    EXPECT_TRUE(against.only_now.empty());
    EXPECT_EQ(against.no_times, "");
    EXPECT_EQ(against.untimed.size(), run == &Small() ? 0u : 6u);
    EXPECT_EQ(against.compared, run == &Small() ? 5 : 2 * 3);
  }
}

// Whatever number is changed is what is found, in both directions.
TEST(Against, FindsTheOneNumberThatChanged) {
  eval::Random random(7);
  for (int i = 0; i < 200; ++i) {
    Json now = Small();
    Json& row = now["rows"][static_cast<size_t>(random.Below(5))];
    const tool::NumberInfo& number = tool::Numbers()[static_cast<size_t>(
        random.Below(static_cast<int64_t>(tool::Numbers().size())))];
    Json& value = row[number.key];
    const bool absent = value.is_null();
    value = absent ? 0.5 : value.get<double>() * 1.5 + 1;
    const std::string key = number.key;
    if (key == "mad") value = 0.001;
    if (key == "time") SetSeconds({2.5, 2.51, 2.49, 2.505, 2.495}, &row);
    SCOPED_TRACE(row["name"].get<std::string>() + " " + key);
    // A wider spread is no change; of the times the median alone is compared.
    const bool counts = number.kind != tool::NumberKind::kTime || key == "time";
    for (const Against& against :
         {Compare(Small(), now), Compare(now, Small())}) {
      ASSERT_EQ(against.changes.size(), counts ? 1u : 0u);
      if (!counts) continue;
      EXPECT_EQ(against.changes[0].row, row["name"]);
      EXPECT_EQ(against.changes[0].number, key);
    }
  }
}

// Five rounds of five rows: a difference of ten of these spreads is a change.
TEST(Against, ComparesTimesByTheirRounds) {
  Json now = Small();
  Json& row = now["rows"][1];
  for (const auto& [shift, changed] :
       {std::pair{0.02, false}, std::pair{-0.02, false}, std::pair{0.1, true},
        std::pair{-0.1, true}}) {
    SetSeconds(
        {1 + shift, 1.01 + shift, 0.99 + shift, 1.005 + shift, 0.995 + shift},
        &row);
    EXPECT_EQ(Compare(Small(), now).changes.size(), changed ? 1u : 0u) << shift;
    EXPECT_TRUE(Compare(Small(), now).untimed.empty());
  }
  const auto untimed = [&](const std::string& reason) {
    for (const Against& against :
         {Compare(Small(), now), Compare(now, Small())}) {
      EXPECT_TRUE(against.changes.empty());
      ASSERT_EQ(against.untimed.size(), 1u);
      EXPECT_EQ(against.untimed[0].row, now["rows"][1]["name"]);
      EXPECT_EQ(against.untimed[0].reason, reason);
      EXPECT_TRUE(Has(tool::AgainstText(against, 80),
                      "\ntimes of 1 not compared: " + reason + "\n"));
      EXPECT_EQ(Json::parse(io::JsonText(
                    tool::AgainstJson(against)))["untimed"][0]["reason"],
                reason);
    }
  };
  SetSeconds({5, 5.01, 5.02, 5.03}, &row);
  untimed("fewer than 5 rounds");
  SetSeconds({5, 5.5, 4.5, 5.2, 4.8}, &row);
  untimed("noisy (a spread over 3 %)");
  row["time"] = row["mad"] = nullptr;
  untimed("no time");
}

// Runs of equal times, again and again: how often is any of 40 rows told as
// changed? And do changes that are there show?
TEST(Against, RaisesFewFalseAlarms) {
  eval::Random random(17);
  const auto unit = [&] {
    return (static_cast<double>(random.Below(1 << 30)) + 0.5) / (1 << 30);
  };
  const auto normal = [&] {
    return std::sqrt(-2 * std::log(unit())) * std::cos(6.283185307 * unit());
  };
  const auto of = [](std::vector<double> seconds) {
    const auto middle = [](std::vector<double> values) {
      std::sort(values.begin(), values.end());
      return values[values.size() / 2];
    };
    tool::RoundTimes times;
    times.rounds = static_cast<int64_t>(seconds.size());
    times.median = middle(seconds);
    for (double& second : seconds) second = std::fabs(second - times.median);
    times.mad = middle(seconds);
    return times;
  };
  constexpr int kRows = 40, kComparisons = 2000;
  for (const int rounds : {5, 7, 9, 15}) {
    for (const bool disturbed : {false, true}) {
      const auto draw = [&](double mean) {
        std::vector<double> seconds;
        for (int i = 0; i < rounds; ++i) {
          double second = mean + 0.005 * normal();
          // Disturbances only ever slow down.
          if (disturbed && unit() < 0.2) second += -0.1 * std::log(unit());
          seconds.push_back(second);
        }
        return of(seconds);
      };
      int alarms = 0, found = 0;
      for (int c = 0; c < kComparisons; ++c) {
        bool any = false;
        for (int row = 0; row < kRows; ++row) {
          any |= tool::TimesDiffer(draw(1), draw(1), kRows);
        }
        alarms += any;
        found += tool::TimesDiffer(draw(1), draw(1.1), kRows);
      }
      EXPECT_LT(alarms, 0.05 * kComparisons) << rounds << " " << disturbed;
      EXPECT_GT(found, 0.5 * kComparisons) << rounds << " " << disturbed;
    }
  }
}

// What the row's own number hides is told by the first part where it shows.
TEST(Against, LooksIntoLayersHeadsAndQuantiles) {
  for (const auto& [pointer, place] :
       {std::pair{"/rows/1/layers/0/cosine", "layers[0].cosine"},
        std::pair{"/rows/1/layers/0/heads/rel_l2/1",
                  "layers[0].heads.rel_l2[1]"},
        std::pair{"/rows/1/row_rel_l2/3", "row_rel_l2[3]"},
        std::pair{"/rows/1/layers/0/row_rel_l2/23",
                  "layers[0].row_rel_l2[23]"}}) {
    Json now = Small();
    now[Json::json_pointer(pointer)] = 0.5;
    const Against against = Compare(Small(), now);
    ASSERT_EQ(against.changes.size(), 1u) << place;
    EXPECT_EQ(against.changes[0].number, place);
    EXPECT_TRUE(Has(tool::AgainstText(against, 80), std::string(place)));
  }
  Json now = Small();
  now["rows"][1]["layers"][0]["gate"] = "FAILED";
  ASSERT_EQ(Compare(Small(), now).changes.size(), 1u);
  EXPECT_EQ(Compare(Small(), now).changes[0].number, "layers[0].gate");
}

TEST(Against, RefusesWhereNothingCanBeCompared) {
  const auto refuse = [](const Json& old, const Json& now,
                         const std::string& part) {
    try {
      Compare(old, now);
      ADD_FAILURE() << part;
    } catch (const io::InputError& error) {
      EXPECT_TRUE(Has(error.what(), part)) << error.what();
    }
  };
  Json now = Small();
  for (Json& row : now["rows"]) {
    row["name"] = "other:" + row["name"].get<std::string>();
  }
  refuse(Small(), now, "'x.json' has no row that can be compared");
  now = Small();
  for (Json& row : now["rows"]) {
    row["layers"] = Small()["rows"][0]["layers"];
    row["row_rel_l2"] = Json::array();
    for (const tool::NumberInfo& number : tool::Numbers()) {
      row[number.key] = nullptr;
    }
  }
  refuse(now, now, "'x.json' has no number that can be compared");
  now = Swept();
  now.erase("sweep");
  refuse(Swept(), now, "is a sweep of lengths, and this run is none");
  refuse(now, Swept(), "is no sweep of lengths, and this run is one");
}

TEST(Against, ComparesNoTimesBetweenMachines) {
  const auto differ = [](const char* part, const char* key, const Json& value,
                         const std::string& text) {
    Json now = Small();
    now[part][key] = value;
    now["rows"][0]["time"] = 5.0;
    now["rows"][0]["workspace_bytes"] = 5.0;
    Against against = Compare(Small(), now);
    EXPECT_TRUE(tool::AgainstText(against, 80).find(text) != std::string::npos)
        << tool::AgainstText(against, 80);
    EXPECT_TRUE(against.changes.empty());
    // Rounding of the truth is no change there, and what is more is.
    Json& error = now["rows"][0]["rel_l2"];
    error = error.get<double>() * (1 + 1e-7);
    EXPECT_TRUE(Compare(Small(), now).changes.empty());
    error = error.get<double>() * (1 + 1e-5);
    against = Compare(Small(), now);
    ASSERT_EQ(against.changes.size(), 1u);
    EXPECT_EQ(against.changes[0].number, "rel_l2");
  };
  differ("environment", "cpu", "Other", "times are not compared: CPU ");
  differ("run", "threads", 77, ", now 77");
  differ("run", "target", "sve", ", now sve");
  // On one machine the least bit is a change.
  Json now = Small();
  now["rows"][0]["rel_l2"] =
      std::nextafter(now["rows"][0]["rel_l2"].get<double>(), 1);
  EXPECT_EQ(Compare(Small(), now).changes.size(), 1u);
}

TEST(Against, NamesRowsOfOneRun) {
  Json now = Small();
  now["rows"].erase(2);
  EXPECT_EQ(Compare(Small(), now).only_old,
            std::vector<std::string>{Small()["rows"][2]["name"]});
  EXPECT_EQ(Compare(now, Small()).only_now,
            std::vector<std::string>{Small()["rows"][2]["name"]});
  now = Small();
  now["rows"][2]["gate"] = "FAILED";
  ASSERT_EQ(Compare(Small(), now).changes.size(), 1u);
  EXPECT_EQ(Compare(Small(), now).changes[0].number, "gate");
}

TEST(Against, FollowsASweepOfLengths) {
  Json now = Swept();
  now["sweep"]["rows"][1]["flops"][0] = 1.0;
  Against against = Compare(Swept(), now);
  ASSERT_EQ(against.changes.size(), 1u);
  EXPECT_EQ(against.changes[0].tokens, 8);
  EXPECT_EQ(against.changes[0].number, "flops");
  now = Swept();
  now["sweep"]["tokens"][0] = 9;
  against = Compare(Swept(), now);
  EXPECT_EQ(against.only_old, (std::vector<std::string>{"exact at 8 tokens",
                                                        "naive at 8 tokens"}));
  EXPECT_EQ(against.compared, 4);
}

TEST(Against, RefusesOtherInputs) {
  const auto refuse = [](const Json& now, const std::string& part) {
    try {
      Compare(Small(), now);
      ADD_FAILURE() << part;
    } catch (const io::InputError& error) {
      EXPECT_TRUE(Has(error.what(), "'x.json' has another input: " + part))
          << error.what();
    }
  };
  Json now = Small();
  now["input"]["layers"][0]["hash"] = "0";
  refuse(now, "input.layers[0].hash is ");
  now["input"]["layers"][0]["problem"] = "b1";
  refuse(now, "input.layers[0].problem is ");
  now = Small();
  now["run"]["queries"] = 3;
  refuse(now, "run.queries is 0, not 3");
}

TEST(Against, TellsOnTheCommandLine) {
  const TemporaryFolder folder;
  const std::string small =
      "compare -q --repeats 1 --problem b1_h1_d8_q40 naive ";
  ASSERT_EQ(RunTool(folder, small + "--json old.json").exit_code, 0);
  const std::string old = folder.Read("old.json");
  EXPECT_EQ(io::JsonText(io::ReadJson(old)), old);
  const ToolRun same =
      RunTool(folder, small + "window_sink --against old.json --json new.json");
  EXPECT_EQ(same.exit_code, 0) << same.error;
  EXPECT_TRUE(Has(same.out,
                  "\n0 of 2 rows changed beyond noise\n"
                  "times of 2 not compared: fewer than 5 rounds\n"))
      << same.out;
  EXPECT_TRUE(Has(same.out, "\nonly here: window_sink:window=256:sink=4\n"));
  Json changed = Json::parse(old);
  changed["rows"][1]["cosine"] = 0.5;
  folder.Write("old.json", changed.dump());
  const ToolRun other =
      RunTool(folder, small + "--against old.json --json new.json");
  EXPECT_EQ(other.exit_code, 3) << other.error;
  EXPECT_TRUE(Has(other.out, "\nnaive\n  cosine ")) << other.out;
  EXPECT_TRUE(Has(other.out, "\n1 of 2 rows changed beyond noise\n"));
  const Json against = Json::parse(folder.Read("new.json"))["against"];
  EXPECT_EQ(against["file"], "old.json");
  EXPECT_EQ(against["compared"], 2);
  ASSERT_EQ(against["changes"].size(), 1u);
  EXPECT_EQ(against["changes"][0]["name"], "naive");
  EXPECT_EQ(against["changes"][0]["number"], "cosine");
  EXPECT_EQ(against["changes"][0]["was"], 0.5);
  EXPECT_TRUE(against["changes"][0]["tokens"].is_null());
  // A row that is gone is a change; a run of another kind is refused at once.
  folder.Write("old.json", old);
  const ToolRun fewer = RunTool(
      folder,
      "compare -q --repeats 1 --problem b1_h1_d8_q40 exact --against old.json");
  EXPECT_EQ(fewer.exit_code, 3) << fewer.error;
  EXPECT_TRUE(Has(fewer.out, "\nonly there: naive\n")) << fewer.out;
  ExpectComplaint(RunTool(folder, small + "--against old.json --tokens 20,40"),
                  "is no sweep of lengths, and this run is one");
}

TEST(Against, RefusesBadFilesBeforeItComputes) {
  const TemporaryFolder inputs;
  const std::string path = inputs.Write("old.json", Small().dump());
  const auto refuse = [](const std::string& file, const std::string& part) {
    ExpectBadInput(
        "compare -q naive --problem b1_h1_d8_q40 --json x.json "
        "--against '" +
            file + "'",
        part);
  };
  refuse(path, "has another input: input.layers[0].problem is ");
  refuse(inputs.Path("none"), "No such file");
  refuse(inputs.Path("."), "is a directory");
  refuse("/proc/self/mem", "it could not be read to its end");
  refuse("", "the name is empty");
  refuse(inputs.Write("a", "{\"a\": "), "is not JSON at byte");
  refuse(inputs.Write("a", "{}"), "format is missing");
  refuse(inputs.Write("a", R"({"format":"heed-compare-9"})"),
         "format is 'heed-compare-9'");
}

TEST(Against, OverwritesNothingThatItReads) {
  const TemporaryFolder folder;
  folder.Write("old.json", Small().dump());
  for (const char* output :
       {"--json old.json", "--html old.json", "--csv ./old.json"}) {
    ExpectComplaint(RunTool(folder, std::string("compare -q ") + kArguments +
                                        " --against old.json " + output),
                    "is the input, and would be overwritten");
    EXPECT_EQ(folder.Read("old.json"), Small().dump());
  }
  ExpectComplaint(RunTool(folder, std::string("compare -q ") + kArguments +
                                      " --resume old.json --csv old.json"),
                  "is the input, and would be overwritten");
  EXPECT_EQ(folder.Read("old.json"), Small().dump());
}

}  // namespace
}  // namespace heed::test
