// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// How much a test may cost here.
#ifndef HEED_TESTS_SUPPORT_QUICK_H_
#define HEED_TESTS_SUPPORT_QUICK_H_

namespace heed::test {

// True under sanitizers and emulators, and where the environment sets
// HEED_QUICK=1: grids keep all their axes but about a tenth of their points.
bool Quick();

}  // namespace heed::test

#endif  // HEED_TESTS_SUPPORT_QUICK_H_
