// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// How readers say that what a user gave cannot be used. The library itself
// never throws; the tool and the tests may.
#ifndef HEED_LIB_IO_INPUT_ERROR_H_
#define HEED_LIB_IO_INPUT_ERROR_H_

#include <stdexcept>
#include <string>

namespace heed::io {

// what() is one sentence for the user, without a final full stop.
class InputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace heed::io

#endif  // HEED_LIB_IO_INPUT_ERROR_H_
