// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Reads Linux's descriptions of the CPU.
#include "tools/heed/environment.h"

#include <fmt/format.h>

#include <ctime>
#include <fstream>
#include <string_view>

#include "heed/export.h"
#include "lib/eval/processors.h"

namespace heed::tool {
namespace {

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// "model name" on x86; on Arm the kernel gives numbers, or a device tree gives
// the board.
std::string CpuName() {
  std::ifstream file("/proc/cpuinfo");
  std::string line, implementer, part;
  while (std::getline(file, line)) {
    const size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    const std::string value = line.substr(colon + 2);
    if (line.starts_with("model name")) return value;
    if (line.starts_with("CPU implementer")) implementer = value;
    if (line.starts_with("CPU part")) part = value;
  }
  if (!part.empty()) return "implementer " + implementer + ", part " + part;
  return "unknown";
}

std::vector<Cache> Caches() {
  std::vector<Cache> caches;
  for (int i = 0; i < 16; ++i) {
    const std::string folder =
        "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/";
    const std::string level = FirstLine(folder + "level");
    if (level.size() != 1) break;
    caches.push_back(Cache{level[0] - '0', FirstLine(folder + "type"),
                           FirstLine(folder + "size"),
                           FirstLine(folder + "shared_cpu_list")});
  }
  return caches;
}

}  // namespace

Environment ReadEnvironment() {
  Environment environment;
  environment.version = fmt::format("{}.{}.{}", HEED_VERSION_MAJOR,
                                    HEED_VERSION_MINOR, HEED_VERSION_PATCH);
  environment.compiler = HEED_TOOL_COMPILER;
  environment.cpu = CpuName();
  environment.processors = eval::UsableProcessors();
  environment.caches = Caches();
  return environment;
}

std::string UtcNow() {
  const std::time_t now = std::time(nullptr);
  std::tm utc = {};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

std::string QuoteCommand(int argc, char** argv) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
      "_-./:=,+@%";
  std::string command = "heed";
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    command += ' ';
    if (!argument.empty() &&
        argument.find_first_not_of(kPlain) == std::string_view::npos) {
      command += argument;
      continue;
    }
    command += '\'';
    for (const char c : argument) {
      if (c == '\'') {
        command += "'\\''";
      } else {
        command += c;
      }
    }
    command += '\'';
  }
  return command;
}

}  // namespace heed::tool
