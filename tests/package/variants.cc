// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The list of variants, as a user of heed::variants reads it.
#include <heed/variant.h>

#include <cstdio>
#include <cstring>

int main() {
  bool exact = false;
  for (int i = 0; i < heed::NumVariants(); ++i) {
    const heed::NamedVariant named = heed::GetVariant(i);
    std::printf("%s: %s\n", named.name, named.variant.summary);
    exact = exact || std::strcmp(named.name, "exact") == 0;
  }
  return exact ? 0 : 1;
}
