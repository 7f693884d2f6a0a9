// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Files that exist whole or not at all.
#ifndef HEED_TOOLS_HEED_OUTPUT_FILE_H_
#define HEED_TOOLS_HEED_OUTPUT_FILE_H_

#include <string>
#include <string_view>
#include <vector>

namespace heed::tool {

// Throws InputError where `path` could not be written: asked before a long
// computation, not after it. "-" is standard output. Leaves nothing behind.
void CheckWritable(const std::string& path);

// Whether two paths lead to one file, through whatever links and folders,
// whether it exists or not.
bool SamePlace(const std::string& a, const std::string& b);

// Throws InputError where one of the outputs ("" for none) cannot be written,
// or two are one place, or one is an input.
void CheckOutputPaths(const std::vector<std::string>& outputs,
                      const std::vector<std::string>& inputs);

// Writes `text` beside the path and renames it into place, so that no reader
// ever sees a part; a symbolic link stays one. Devices and pipes are written
// directly. Throws InputError; then nothing is left behind.
void WriteWhole(const std::string& path, std::string_view text);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_OUTPUT_FILE_H_
