// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

namespace heed::test {
namespace {

char g_context[1024];

// Only calls that are allowed in a signal handler.
void PrintContext(int signal_number) {
  const char intro[] = "fault in: ";
  if (write(2, intro, sizeof(intro) - 1) > 0 &&
      write(2, g_context, strlen(g_context)) > 0 && write(2, "\n", 1) > 0) {
    signal(signal_number, SIG_DFL);
  }
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

}  // namespace

GuardedMemory::GuardedMemory(size_t capacity)
    : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))),
      capacity_((capacity + page_ - 1) / page_ * page_) {
  void* pages = mmap(nullptr, capacity_ + 2 * page_, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) std::abort();
  pages_ = static_cast<char*>(pages);
  if (capacity_ > 0 &&
      mprotect(pages_ + page_, capacity_, PROT_READ | PROT_WRITE) != 0) {
    std::abort();
  }
}

GuardedMemory::~GuardedMemory() { munmap(pages_, capacity_ + 2 * page_); }

char* GuardedMemory::Place(size_t bytes, Against end) const {
  if (bytes > capacity_) std::abort();
  return end == Against::kFront ? pages_ + page_
                                : pages_ + page_ + capacity_ - bytes;
}

void SetGuardContext(const std::string& text) {
  static const bool installed = [] {
    signal(SIGSEGV, &PrintContext);
    signal(SIGBUS, &PrintContext);
    return true;
  }();
  static_cast<void>(installed);
  std::strncpy(g_context, text.c_str(), sizeof(g_context) - 1);
}

}  // namespace heed::test
