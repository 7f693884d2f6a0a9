// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Variant settings: whatever the text, either it gives settings in range, each
// of which reads back to itself, or InputError says why not.
#include <string>
#include <string_view>
#include <vector>

#include "lib/eval/knob_sweep.h"
#include "tests/fuzz/fuzz_target.h"

namespace heed::test {
namespace {

constexpr Knob kKnobs[] = {
    {"window", "Keys.", 256, 1, 1e6, true},
    {"share", "Of something.", 0.5, 0, 1, false},
    {"shift", "Either way.", 0, -1e300, 1e300, false},
};

std::vector<NamedVariant> Variants() {
  Variant three;
  three.knobs = kKnobs;
  three.num_knobs = 3;
  return {{"exact", Variant()}, {"window_sink", three}};
}

void RequireInRange(const eval::Setting& setting) {
  const Variant& variant = setting.variant.variant;
  for (int i = 0; i < variant.num_knobs; ++i) {
    const double value = setting.knobs[static_cast<size_t>(i)];
    Require(variant.knobs[i].min <= value && value <= variant.knobs[i].max);
  }
}

void Read(std::string_view text) {
  const std::vector<NamedVariant> variants = Variants();
  const std::vector<eval::Setting> settings =
      eval::ParseSettings(text, variants);
  Require(!settings.empty() && settings.size() <= eval::kMaxSettings);
  for (const eval::Setting& setting : settings) {
    RequireInRange(setting);
    const std::string written = eval::FormatSetting(setting);
    RequireSentence(written);
    const std::vector<eval::Setting> again =
        eval::ParseSettings(written, variants);
    Require(again.size() == 1);
    Require(again[0].knobs == setting.knobs);
    Require(eval::FormatSetting(again[0]) == written);
  }
}

void Run(std::string_view bytes) {
  Try([&] { Read(bytes); });
}

// A knob with this many values.
std::string Values(const char* knob, int count) {
  std::string text = std::string(":") + knob + "=1";
  for (int i = 1; i < count; ++i) text += ",1";
  return text;
}

std::vector<std::string> Seeds() {
  return {
      "exact",
      "window_sink",
      "window_sink:window=1,2,3:share=0.25,1e-3",
      "window_sink:shift=-1e300,-0,5e-324:window=1000000",
      "window_sink:window=0",
      "window_sink:window=1000001",
      "window_sink:window=1.5",
      "window_sink:window=",
      "window_sink:window=1,,2",
      "window_sink:window=1:window=2",
      "window_sink:window",
      "window_sink:windw=1",
      "window_sink:=1",
      "window_sink:share=nan,inf,-inf,1e999,0x1p3",
      "window_sink::",
      "exact:window=1",
      "exakt",
      "",
      ":",
      "window_sink:window=\x1b[31m:\xe2\x80\xae=\xff",
      std::string(300, 'w'),
      "window_sink:" + std::string(300, 'w') + "=1",
      "window_sink" + Values("window", 256),
      "window_sink" + Values("window", 16) + Values("share", 17),
      std::string("window_sink\0:share=1", 20),
  };
}

const FuzzTarget kTarget("knob_sweep", Run, Seeds, {":=,-.9e_w\0\xff", 11});

}  // namespace
}  // namespace heed::test
