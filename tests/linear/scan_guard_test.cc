// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Scans with guard pages on either side of each tensor: nothing is read or
// written beyond them.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <vector>

#include "tests/linear/scan_case.h"
#include "tests/support/guard.h"
#include "tests/support/quick.h"

namespace heed::test {
namespace {

class ScanGuard : public OnEveryTarget {};
HEED_ON_EVERY_TARGET(ScanGuard);

// Moves a dense tensor between guard pages.
template <class View>
void Guard(View& view, Against end,
           std::vector<std::unique_ptr<GuardedMemory>>* memory) {
  if (view.absent()) return;
  int64_t bytes = SizeOf(view.dtype);
  for (int i = 0; i < 4; ++i) {
    bytes += (view.extent[i] - 1) * view.stride[i];
  }
  memory->push_back(
      std::make_unique<GuardedMemory>(static_cast<size_t>(bytes)));
  char* at = memory->back()->Place(static_cast<size_t>(bytes), end);
  std::memcpy(at, view.data, static_cast<size_t>(bytes));
  view.data = at;
}

TEST_P(ScanGuard, NothingBeyondTensorsIsTouched) {
  int index = 0;
  for (const ScanCase& c : ScanCases()) {
    if (c.seqlen == 0 || (Quick() && ++index % 7 != 0)) continue;
    for (const Against end : {Against::kFront, Against::kBack}) {
      SetGuardContext(GetParam() + " " + c.Text());
      ScanTensors plain(c), guarded(c);
      ASSERT_TRUE(RunScanOn({GetParam()}, plain.Params(), plain.Args()).ok());
      std::vector<std::unique_ptr<GuardedMemory>> memory;
      ScanArgs args = guarded.Args();
      for (auto* view : {&args.query, &args.key, &args.value, &args.log_decay,
                         &args.beta, &args.erase_key, &args.remove_key,
                         &args.initial_state, &args.initial_sum}) {
        Guard(*view, end, &memory);
      }
      for (auto* view : {&args.out, &args.final_state, &args.final_sum}) {
        Guard(*view, end, &memory);
      }
      const Status status = RunScanOn({GetParam()}, guarded.Params(), args);
      ASSERT_TRUE(status.ok()) << ToString(status);
      const ScanArgs want = plain.Args();
      const size_t bytes = plain.final_state.size() * sizeof(float);
      EXPECT_EQ(
          std::memcmp(args.final_state.data, want.final_state.data, bytes), 0)
          << c.Text();
    }
  }
}

}  // namespace
}  // namespace heed::test
