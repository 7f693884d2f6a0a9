// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/source_tree.h"

namespace heed::test {

std::string SourcePath(const std::string& path) {
  return HEED_SOURCE_DIR "/" + path;
}

}  // namespace heed::test
