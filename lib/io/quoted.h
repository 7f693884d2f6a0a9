// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Text that a file or a user gave, made fit for a terminal.
#ifndef HEED_LIB_IO_QUOTED_H_
#define HEED_LIB_IO_QUOTED_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace heed::io {

// Names and values longer than this, in bytes, are cut.
inline constexpr size_t kLongestQuoted = 64;

// Returns `text` on one line: at most kLongestQuoted bytes of it, then "...";
// '?' for each control character, each one that reorders or hides text, and
// each byte that is not UTF-8.
std::string Printable(std::string_view text);

// Returns the same between single quotes.
std::string Quoted(std::string_view text);

}  // namespace heed::io

#endif  // HEED_LIB_IO_QUOTED_H_
