// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The command line tool.
#include <cstdio>
#include <exception>
#include <new>

#include "lib/eval/input_error.h"
#include "tools/heed/commands.h"
#include "tools/heed/environment.h"
#include "tools/heed/options.h"

namespace {

constexpr int kBadInput = 2;

int Dispatch(const heed::tool::Options& options, int argc, char** argv) {
  switch (options.command) {
    case heed::tool::Command::kInfo:
      return heed::tool::RunInfo(options);
    case heed::tool::Command::kVariants:
      return heed::tool::RunVariants(options);
    case heed::tool::Command::kCompare:
      return heed::tool::RunCompareCommand(
          options, heed::tool::QuoteCommand(argc, argv));
    case heed::tool::Command::kNone:
      break;
  }
  return kBadInput;
}

}  // namespace

int main(int argc, char** argv) {
  heed::tool::Options options;
  int exit_code = 0;
  try {
    if (!heed::tool::ParseOptions(argc, argv, &options, &exit_code)) {
      return exit_code;
    }
    return Dispatch(options, argc, argv);
  } catch (const heed::eval::InputError& error) {
    std::fprintf(stderr, "heed: %s\n", error.what());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "heed: there is not enough memory for this input\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "heed: %s\n", error.what());
  }
  return kBadInput;
}
