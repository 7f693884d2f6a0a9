// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// libFuzzer target: the safetensors reader, from the bytes of a file to the
// tensors of a capture, and its header parser alone. Whatever the bytes, either
// they are read or InputError says why not.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "lib/eval/tensor_source.h"
#include "lib/io/input_error.h"
#include "lib/io/safetensors.h"
#include "tests/fuzz/fuzz_target.h"

namespace heed::test {
namespace {

using io::InputError;

// A file in memory that is opened by its path, as the reader does.
class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t size)
      : file_(memfd_create("fuzz", MFD_CLOEXEC)) {
    if (file_ < 0 || write(file_, data, size) != static_cast<ssize_t>(size)) {
      std::abort();
    }
  }
  ~MemoryFile() { close(file_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string Path() const { return "/proc/self/fd/" + std::to_string(file_); }

 private:
  int file_;
};

// Reads every tensor. What the header promised must hold.
void ReadAll(const std::string& path, size_t file_bytes) {
  const io::SafetensorsFile file(path);
  for (const io::SafetensorsEntry& entry : file.header().entries) {
    if (entry.begin > entry.end ||
        entry.end > file_bytes - file.header().data_offset) {
      std::abort();
    }
    if (file.Find(entry.name) != &entry) std::abort();
    try {
      const auto values = file.Read(entry);
      if (values.size() != static_cast<size_t>(entry.num_elements)) {
        std::abort();
      }
    } catch (const InputError& error) {  // a dtype that is not read
      RequireSentence(error.what());
    }
  }
}

void LoadAs(const std::string& path, eval::Layout layout) {
  eval::CaptureOptions options;
  options.layout = layout;
  const eval::TensorSource source = eval::LoadCapture(path, options);
  if (source.layers.empty()) std::abort();
  for (const eval::Layer& layer : source.layers) RequireSentence(layer.name);
}

template <typename Function>
void Try(const Function& function) {
  try {
    function();
  } catch (const InputError& error) {
    RequireSentence(error.what());
  }
}

}  // namespace

void FuzzSafetensors(const uint8_t* data, size_t size) {
  const MemoryFile file(data, size);
  const std::string path = file.Path();
  Try([&] { ReadAll(path, size); });
  Try([&] { LoadAs(path, eval::Layout::kBshd); });
  Try([&] { LoadAs(path, eval::Layout::kBhsd); });
  // Few mutations keep the length in front right: the header alone, too.
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const uint64_t data_bytes : {uint64_t{0}, uint64_t{64}}) {
    Try([&] { io::ParseSafetensorsHeader(text, data_bytes); });
  }
}

}  // namespace heed::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  heed::test::FuzzSafetensors(data, size);
  return 0;
}
