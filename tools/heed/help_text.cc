// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/heed/help_text.h"

#include <algorithm>
#include <string>

#include "tools/heed/numbers.h"
#include "tools/heed/results.h"
#include "tools/heed/text_table.h"

namespace heed::tool {
namespace {

constexpr char kCompareHelp[] = R"(
Variants are written name:knob=value:knob=value. A knob may list values,
"window_sink:window=256,512:sink=0,4" being four rows; knobs left out keep their
defaults ('heed variants' lists them). Without any variant all of them run at
their defaults, those that select keys also at a quarter, half and twice their
budget. `exact` always runs: it is what the others are compared with.

Input, one of:
  --input FILE.safetensors  tensors <prefix>query, <prefix>key, <prefix>value
      (or q, k, v) of F32, F16 or BF16, for one layer or many, such as
      layer.7.query or attn_7_q; a prefix ends with one of . _ / -
      Query is [seqlen, num_heads, head_dim]; key and value may have fewer
      heads. A batch axis may stand in front. Metadata causal, softmax_scale,
      softcap, window_left, window_right and sink_size are what was computed,
      where --causal, --scale, --softcap, --window-left and --sink don't say
      otherwise.
  --problem TEXT  random tensors, such as b1_h8_kv2_d64_q1024_f32_causal
  neither  the built-in sample: four layers of a small language model

Views:
  --queries N  decodes the last N tokens one by one, each over the keys that
      were there before it and its own: time, speed and KV bytes of a token
  --tokens 512-4096  compares at 512, 1024, 2048 and 4096 tokens (or at those of
      a list). growth is the power of the length that the time grows with, 1 for
      what is linear and 2 for what is quadratic. pays from is the length where
      a variant's time falls below exact's and stays there, read off straight
      lines between logarithms, and in brackets the same with both times moved
      apart and together by their spreads
  --at mass=0.95, --at rel_l2=0.01  compares at one quality: each variant that
      selects keys takes the smallest budget that reaches it as a mean over the
      layers, its other knobs staying as given (its budget is the first knob
      that 'heed variants' says can be exact; strided, which keeps everything by
      short and by long strides, has none). With several --tokens the budgets
      are searched at the longest, and serve all lengths
  --by layer, --by head  shows each layer, or the heads with the largest errors:
      a sparse method fails on few
  --time-budget SECONDS  starts no new row once so many seconds are spent, and
      says which rows were left out; exact always runs
  --resume FILE.json  takes the rows that an earlier run of the same input,
      lengths, version, machine and repeats left there and runs the others; a
      FILE that does not exist yet begins empty. With either, each row is timed
      beside exact in rounds of its own, at every length, and the JSON is
      written after each
  --against OLD.json  says what changed since an earlier run on the same input:
      times of rows by more than the rounds of both runs explain (of 5 rounds or
      more, not noisy, on the same machine: CPU, caches, processors, threads
      and kernel; at most one comparison in twenty names a row by noise from
      round to round alone); any other number, of rows, layers, heads and row_rel_l2; and which rows only
      one of them has.
      The exit status is 3 where something changed or a row is gone

Columns (tables show some; --wide all; --json and --csv also hold
every layer by itself, under the names in parentheses):
)";

constexpr char kCompareExamples[] = R"(
Examples:
  heed compare --layers 2,19-28 --repeats 9 --csv out.csv
  heed compare exact naive --problem b1_h8_d64_q2048_f32_causal --threads 1
  heed compare --input mine.safetensors --layout bhsd --no-causal
  heed compare --queries 8 window_sink block_topk
  heed compare --tokens 128-1024 --html lengths.html
  heed compare window_sink:window=64 --by head
  heed compare --at mass=0.95 window_sink block_topk:block=16,64
  heed compare block_topk --json - | python3 -m json.tool
  heed compare --against old.json --json new.json)";

// "  x exact    (speedup) time of ...", indented where it goes on.
std::string Entry(const std::string& name, const std::string& text) {
  constexpr size_t kIndent = 13;
  std::string lines = WrapText(text, kTableWidth - kIndent);
  for (size_t at = 0; (at = lines.find('\n', at)) + 1 < lines.size(); ++at) {
    lines.insert(at + 1, kIndent, ' ');
  }
  std::string head = "  " + name;
  head.resize(std::max(head.size() + 1, kIndent), ' ');
  return head + lines;
}

}  // namespace

const char kExamples[] = R"(
Examples:
  heed compare
      every variant on queries, keys and values captured from a language model
  heed compare --html report.html
      the same, and a report to open in a browser
  heed compare window_sink:window=128,256,512:sink=4 block_topk
      some variants; comma-separated values make one row each
  heed compare --help
      what the columns mean, and how to bring your own tensors
Exit status: 0 fine, 1 a variant's result failed its check, 2 bad input, 3 a
number changed or a row is gone (--against).)";

const char kMergeHelp[] = R"(
Runs of one version on one input, with the same --tokens, --queries and --at,
are joined: each row once. Errors, mass, density, operations and bytes must
agree, wherever they were computed (in double, a millionth aside). Times belong
to a machine (CPU, kernel, threads) and its rounds: the first file's machine is
that of the whole, and others' times stand beside it. Of a row that was timed
twice on one machine the first times are kept. Speed-ups stay those to exact in
the same run; the frontier is found anew. What is mixed is refused by file and
field.

Example:
  heed merge one.json two.json --json all.json --html all.html)";

std::string CompareHelp() {
  std::string text = kCompareHelp;
  for (const NumberInfo& number : Numbers()) {
    text += Entry(number.heading,
                  "(" + std::string(number.key) + ") " + number.meaning);
  }
  for (const FlagInfo& flag : Flags()) {
    text += Entry(flag.sign, "(" + std::string(flag.key) + ") " + flag.meaning);
  }
  return text + kCompareExamples;
}

std::string WrapHelp(const std::string& text) {
  std::string wrapped;
  for (size_t begin = 0, end; begin < text.size(); begin = end + 1) {
    end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    if (line.size() <= kTableWidth) {
      wrapped += line + "\n";
      continue;
    }
    size_t indent = std::min(line.find_first_not_of(' '), line.size());
    const size_t gap = line.find("  ", indent);
    if (gap != std::string::npos) indent = line.find_first_not_of(' ', gap);
    if (gap == std::string::npos && indent < 6) indent = 6;  // an option alone
    const std::string lines =
        WrapText(line.substr(indent), kTableWidth - indent);
    std::string head = line.substr(0, indent);
    for (size_t at = 0, stop; at < lines.size(); at = stop + 1) {
      stop = lines.find('\n', at);
      wrapped += head + lines.substr(at, stop - at) + "\n";
      head.assign(indent, ' ');
    }
  }
  return wrapped;
}

}  // namespace heed::tool
