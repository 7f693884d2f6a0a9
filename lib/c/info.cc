// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The C door: texts of statuses, the version, kernel tables and units.
#include <cstdint>

#include "heed/export.h"
#include "heed/heed_c.h"
#include "heed/status.h"
#include "heed/target.h"
#include "lib/c/report.h"
#include "lib/c/structs.h"

using heed::BoundKind;
using heed::Status;
using heed::StatusCode;
using namespace heed::internal;  // NOLINT

static_assert(HEED_OK == static_cast<int>(StatusCode::kOk));
static_assert(HEED_INVALID_ARGUMENT ==
              static_cast<int>(StatusCode::kInvalidArgument));
static_assert(HEED_UNSUPPORTED == static_cast<int>(StatusCode::kUnsupported));
static_assert(HEED_OVERFLOW == static_cast<int>(StatusCode::kOverflow));
static_assert(HEED_WORKSPACE == static_cast<int>(StatusCode::kWorkspace));
static_assert(HEED_OUT_OF_MEMORY == static_cast<int>(StatusCode::kOutOfMemory));
static_assert(HEED_INTERNAL == static_cast<int>(StatusCode::kInternal));
static_assert(HEED_BOUND_AT_MOST == static_cast<int>(BoundKind::kAtMost));
static_assert(HEED_BOUND_AT_LEAST == static_cast<int>(BoundKind::kAtLeast));
static_assert(HEED_BOUND_NEEDS == static_cast<int>(BoundKind::kNeeds));
static_assert(HEED_BOUND_OVER == static_cast<int>(BoundKind::kOver));
static_assert(HEED_BOUND_OF == static_cast<int>(BoundKind::kOf));
static_assert(HEED_BOUND_SAID == static_cast<int>(BoundKind::kSaid));

const char* heed_status_name(int32_t code) {
  return heed::NameOf(static_cast<StatusCode>(code));
}

uint64_t heed_status_text(const heed_status* status, char* text,
                          uint64_t capacity) {
  if (text == nullptr) capacity = 0;
  if (capacity != 0) text[0] = '\0';
  heed_status from;
  if (!ReadStruct(status, "status", &from).ok()) return 0;
  const auto given = [](const char* words) {
    return words == nullptr ? "" : words;
  };
  Status to(static_cast<StatusCode>(from.code), given(from.argument),
            given(from.message));
  to.WithUnit(given(from.unit));
  if (from.has_index != 0) to.WithIndex(from.index);
  if (from.has_value != 0) to.WithValue(from.value);
  if (from.has_bound != 0) {
    to.WithBound(from.bound, static_cast<BoundKind>(from.bound_kind));
  }
  return heed::FormatStatus(to, text, capacity);
}

int32_t heed_version(void) {
  return 10000 * HEED_VERSION_MAJOR + 100 * HEED_VERSION_MINOR +
         HEED_VERSION_PATCH;
}

int32_t heed_num_targets(void) { return heed::NumTargets(); }

int32_t heed_get_target(int32_t index, heed_target_info* info,
                        heed_status* status) {
  return Reported(status, [&]() -> Status {
    const Status result = CheckOutStruct(info, "info");
    if (!result.ok()) return result;
    if (index < 0 || index >= heed::NumTargets()) {
      return InvalidStruct("index", "is no kernel table's").WithValue(index);
    }
    const auto [name, needs, usable, reason, vector_bytes, same_bits] =
        heed::GetTarget(index);
    heed_target_info to = {};
    to.name = name;
    to.needs = needs;
    to.reason = reason;
    to.usable = usable;
    to.vector_bytes = vector_bytes;
    to.same_bits = same_bits;
    WriteStruct(to, info);
    return Status();
  });
}

int32_t heed_num_units(void) { return heed::NumUnits(); }

int32_t heed_get_unit(int32_t index, heed_unit_info* info,
                      heed_status* status) {
  return Reported(status, [&]() -> Status {
    const Status result = CheckOutStruct(info, "info");
    if (!result.ok()) return result;
    if (index < 0 || index >= heed::NumUnits()) {
      return InvalidStruct("index", "is no unit's").WithValue(index);
    }
    const auto [name, target, serves, needs, usable, used, reason] =
        heed::GetUnit(index);
    heed_unit_info to = {};
    to.name = name;
    to.target = target;
    to.serves = serves;
    to.needs = needs;
    to.reason = reason;
    to.usable = usable;
    to.used = used;
    WriteStruct(to, info);
    return Status();
  });
}

const char* heed_default_target(void) { return heed::DefaultTarget(); }
