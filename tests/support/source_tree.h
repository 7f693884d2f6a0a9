// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Files of the repository that tests read.
#ifndef HEED_TESTS_SUPPORT_SOURCE_TREE_H_
#define HEED_TESTS_SUPPORT_SOURCE_TREE_H_

#include <string>

namespace heed::test {

// The path of such a file, given from the repository's root.
std::string SourcePath(const std::string& path);

}  // namespace heed::test

#endif  // HEED_TESTS_SUPPORT_SOURCE_TREE_H_
