// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The sentence of a Status.
#include "heed/status.h"

#include "lib/core/text.h"

namespace heed {

const char* NameOf(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return "ok";
    case StatusCode::kInvalidArgument:
      return "invalid argument";
    case StatusCode::kUnsupported:
      return "unsupported";
    case StatusCode::kOverflow:
      return "overflow";
    case StatusCode::kWorkspace:
      return "workspace";
    case StatusCode::kOutOfMemory:
      return "out of memory";
    case StatusCode::kInternal:
      return "internal error";
  }
  return "unknown status";
}

size_t FormatStatus(const Status& status, char* text, size_t capacity) {
  internal::TextWriter out(text, capacity);
  out.Text(NameOf(status.code()));
  if (status.ok()) return out.Finish();
  if (status.argument()[0] != '\0') {
    out.Text(": ").Text(status.argument());
    if (status.has_index()) {
      out.Text("[").Integer(status.index()).Text("]");
    }
  }
  out.Text(": ").Text(status.message());
  const char* separator = " (";
  if (status.has_value()) {
    out.Text(separator).Text("got ").Integer(status.value());
    separator = ", ";
  }
  if (status.has_bound()) {
    out.Text(separator).Text("limit ").Integer(status.bound());
    separator = ", ";
  }
  if (separator[0] == ',') out.Text(")");
  return out.Finish();
}

}  // namespace heed
