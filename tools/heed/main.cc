// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The command line tool.
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>

#include "lib/io/input_error.h"
#include "tools/heed/commands.h"
#include "tools/heed/environment.h"
#include "tools/heed/options.h"

namespace {

using heed::tool::kBadInput;

// What is printed is buffered, so that a full disk shows here at the latest.
int Flushed(int exit_code) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return exit_code;
  std::fprintf(stderr, "heed: cannot write to standard output: %s\n",
               std::strerror(errno));
  return kBadInput;
}

int Dispatch(const heed::tool::Options& options, int argc, char** argv) {
  switch (options.command) {
    case heed::tool::Command::kInfo:
      return heed::tool::RunInfo(options);
    case heed::tool::Command::kVariants:
      return heed::tool::RunVariants(options);
    case heed::tool::Command::kCompare:
      return heed::tool::RunCompareCommand(
          options, heed::tool::QuoteCommand(argc, argv));
    case heed::tool::Command::kMerge:
      return heed::tool::RunMerge(options,
                                  heed::tool::QuoteCommand(argc, argv));
    case heed::tool::Command::kNone:
      break;
  }
  return kBadInput;
}

}  // namespace

int main(int argc, char** argv) {
  // A file beyond the limit on its size is an error of write, by which what was
  // begun is removed, rather than the end of the process.
  std::signal(SIGXFSZ, SIG_IGN);
  heed::tool::Options options;
  int exit_code = 0;
  try {
    if (!heed::tool::ParseOptions(argc, argv, &options, &exit_code)) {
      return Flushed(exit_code);
    }
    return Flushed(Dispatch(options, argc, argv));
  } catch (const heed::io::InputError& error) {
    std::fprintf(stderr, "heed: %s\n", error.what());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "heed: there is not enough memory for this input\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "heed: %s\n", error.what());
  }
  return kBadInput;
}
