// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The sentence of a Status.
#include "heed/status.h"

#include <cstring>

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

namespace {

const char* WordsOf(BoundKind kind) {
  switch (kind) {
    case BoundKind::kAtMost:
      return "at most ";
    case BoundKind::kAtLeast:
      return "at least ";
    case BoundKind::kNeeds:
      return "needs ";
    case BoundKind::kOver:
      return "over ";
    case BoundKind::kOf:
      return "of ";
    case BoundKind::kSaid:
      break;
  }
  return "";
}

// "got 8 heads over 3" and "got 5, at most 4": only words that bind value and
// bound into one phrase go without a comma.
const char* SeparatorOf(BoundKind kind) {
  return kind == BoundKind::kOver || kind == BoundKind::kOf ? " " : ", ";
}

}  // namespace

size_t FormatStatus(const Status& status, char* text, size_t capacity) {
  internal::TextWriter out(text, capacity);
  const char* const name = NameOf(status.code());
  out.Text(name);
  if (status.ok()) return out.Finish();
  // kWorkspace is named like the only argument that it is about.
  if (status.argument()[0] != '\0' &&
      std::strcmp(status.argument(), name) != 0) {
    out.Text(": ").Text(status.argument());
    if (status.has_index()) {
      out.Text("[").Integer(status.index()).Text("]");
    }
  }
  out.Text(": ").Text(status.message());
  const bool value = status.has_value();
  const bool bound =
      status.has_bound() && status.bound_kind() != BoundKind::kSaid;
  if (!value && !bound) return out.Finish();
  // The unit follows the first number.
  const auto unit = [&] {
    if (status.unit()[0] != '\0') out.Text(" ").Text(status.unit());
  };
  out.Text(" (");
  if (value) {
    out.Text("got ").Integer(status.value());
    unit();
    if (bound) out.Text(SeparatorOf(status.bound_kind()));
  }
  if (bound) {
    out.Text(WordsOf(status.bound_kind())).Integer(status.bound());
    if (!value) unit();
  }
  return out.Text(")").Finish();
}

}  // namespace heed
