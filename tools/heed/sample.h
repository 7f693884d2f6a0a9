// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Where the built-in sample is.
#ifndef HEED_TOOLS_HEED_SAMPLE_H_
#define HEED_TOOLS_HEED_SAMPLE_H_

#include <string>

namespace heed::tool {

// Returns the path of the sample: $HEED_SAMPLE where set; else the installed
// one, beside the tool's own folder; else the one in the source tree that the
// tool was built from. Throws InputError, naming the places, where there is
// none.
std::string FindSample();

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_SAMPLE_H_
