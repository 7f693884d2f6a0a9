// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/quick.h"

#include <cstdlib>
#include <string>

namespace heed::test {

bool Quick() {
  const char* text = std::getenv("HEED_QUICK");
  if (text != nullptr) return std::string(text) != "0";
  return HEED_TEST_QUICK != 0;
}

}  // namespace heed::test
