// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Looks for the sample file.
#include "tools/heed/sample.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "lib/io/input_error.h"

namespace heed::tool {
namespace {

constexpr char kName[] = "smollm2_135m_moby_dick.safetensors";

}  // namespace

std::string FindSample() {
  namespace fs = std::filesystem;
  if (const char* chosen = std::getenv("HEED_SAMPLE")) return chosen;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  const fs::path installed =
      (program.parent_path() / HEED_TOOL_SHARE / kName).lexically_normal();
  const fs::path source = fs::path(HEED_TOOL_SOURCE_DATA) / kName;
  for (const fs::path& path : {installed, source}) {
    if (fs::exists(path, error)) return path.string();
  }
  throw io::InputError("the built-in sample is neither at '" +
                       installed.string() + "' nor at '" + source.string() +
                       "'; set HEED_SAMPLE to it, or use --input or "
                       "--problem");
}

}  // namespace heed::tool
