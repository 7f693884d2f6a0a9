// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a result was measured on and with.
#ifndef HEED_TOOLS_HEED_ENVIRONMENT_H_
#define HEED_TOOLS_HEED_ENVIRONMENT_H_

#include <string>
#include <vector>

namespace heed::tool {

struct Cache {
  int level = 0;
  std::string type;    // "Data", "Instruction", "Unified"
  std::string size;    // "48K"
  std::string shared;  // processors that share it: "0-1"
};

struct Environment {
  std::string version;  // of heed
  std::string compiler;
  std::string cpu;            // "unknown" where the system does not say
  int processors = 0;         // that this process may run on
  std::vector<Cache> caches;  // of processor 0; empty where unreadable
};

// Asks the system. Never fails: what cannot be read is left out.
Environment ReadEnvironment();

// Returns the time now, in UTC: "2025-01-31T12:00:00Z".
std::string UtcNow();

// Returns arguments as a shell would read them back.
std::string QuoteCommand(int argc, char** argv);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_ENVIRONMENT_H_
