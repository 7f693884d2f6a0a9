// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Draws problems over all features of heed::Attention and holds every kernel
// table to the oracles:
//
//   differential_fuzz [--seed=N] [--first=N] [--runs=N] [--seconds=N]
//                     [--no-shrink]
//   differential_fuzz --case='rows=3 keys=70 ...'   one case, as printed
//
// Without --seed it takes one from the clock and prints it. A case that fails,
// or dies, is made smaller and printed.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "tests/differential/fuzz_case.h"

namespace heed::test {
namespace {

constexpr int kMostShrinks = 1500;
constexpr unsigned kMostSeconds = 600;  // of one case

struct Options {
  uint64_t seed = 0, first = 0, runs = UINT64_MAX;
  double seconds = 1e18;
  std::string text;  // of a single case
  bool shrink = true;
};

// Runs a case and says what is wrong.
bool Passes(const FuzzCase& c) {
  const std::string wrong = RunCase(c);
  if (!wrong.empty()) std::fprintf(stderr, "%s\n", wrong.c_str());
  return wrong.empty();
}

// Runs `function` in a child process. Returns whether it returned true.
template <class Function>
bool InChild(bool quiet, Function function) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) std::abort();
  if (child == 0) {
    if (quiet && std::freopen("/dev/null", "w", stderr) == nullptr) _exit(1);
    const bool passes = function();
    std::fflush(nullptr);
    _exit(passes ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool Fails(const FuzzCase& c) {
  return !InChild(true, [&] {
    alarm(kMostSeconds);
    return Passes(c);
  });
}

void Report(const char* what, const FuzzCase& c) {
  std::printf("%s: differential_fuzz --case='%s'\n", what, TextOf(c).c_str());
}

int RunOne(const std::string& text) {
  FuzzCase c;
  const std::string wrong = ReadCase(text, &c);
  if (!wrong.empty()) {
    std::fprintf(stderr, "differential_fuzz: %s\n", wrong.c_str());
    return 2;
  }
  MakeConsistent(&c);
  return Passes(c) ? 0 : 1;
}

// Cases in a child, so that what one dies of is reported as any other failure.
int RunMany(const Options& options) {
  void* const shared = mmap(nullptr, sizeof(uint64_t), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) std::abort();
  volatile uint64_t& number = *static_cast<uint64_t*>(shared);
  number = options.first;
  const auto start = std::chrono::steady_clock::now();
  const bool passed = InChild(false, [&] {
    for (uint64_t run = 0; run < options.runs; ++run) {
      const std::chrono::duration<double> spent =
          std::chrono::steady_clock::now() - start;
      if (spent.count() >= options.seconds) break;
      alarm(kMostSeconds);
      if (!Passes(DrawCase(options.seed, number))) return false;
      number = number + 1;
    }
    return true;
  });
  std::printf("seed %llu: %llu cases passed, from number %llu\n",
              static_cast<unsigned long long>(options.seed),
              static_cast<unsigned long long>(number - options.first),
              static_cast<unsigned long long>(options.first));
  if (passed) return 0;
  const FuzzCase c = DrawCase(options.seed, number);
  Report("failed", c);
  std::fflush(stdout);
  if (options.shrink) Report("smaller", Shrink(c, &Fails, kMostShrinks));
  return 1;
}

bool ReadNumber(const char* text, uint64_t* number) {
  char* end;
  *number = std::strtoull(text, &end, 10);
  return *text >= '0' && *text <= '9' && *end == '\0';
}

int Main(int argc, char** argv) {
  Options options;
  options.seed = static_cast<uint64_t>(
      std::chrono::system_clock::now().time_since_epoch().count() / 1000 %
      1'000'000'000);
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const size_t equals = argument.find('=');
    const std::string name(argument.substr(0, equals));
    const char* const value =
        equals == argument.npos ? "" : argv[i] + equals + 1;
    uint64_t seconds = 0;
    if (name == "--case") {
      options.text = value;
    } else if (argument == "--no-shrink") {
      options.shrink = false;
    } else if (name == "--seconds" && ReadNumber(value, &seconds)) {
      options.seconds = static_cast<double>(seconds);
    } else if (!((name == "--seed" && ReadNumber(value, &options.seed)) ||
                 (name == "--first" && ReadNumber(value, &options.first)) ||
                 (name == "--runs" && ReadNumber(value, &options.runs)))) {
      std::fprintf(stderr,
                   "usage: differential_fuzz [--seed=N] [--first=N] [--runs=N] "
                   "[--seconds=N] [--no-shrink] [--case='FIELD=N ...']\n");
      return 2;
    }
  }
  return options.text.empty() ? RunMany(options) : RunOne(options.text);
}

}  // namespace
}  // namespace heed::test

int main(int argc, char** argv) { return heed::test::Main(argc, argv); }
