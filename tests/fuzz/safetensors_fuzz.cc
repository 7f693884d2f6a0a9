// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The safetensors reader, from the bytes of a file to the tensors of a capture,
// and its header parser alone. Whatever the bytes, either they are read or
// InputError says why not.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "lib/eval/tensor_source.h"
#include "lib/io/safetensors.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/safetensors_seeds.h"

namespace heed::test {
namespace {

// A file in memory that is opened by its path, as the reader does.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes)
      : file_(memfd_create("fuzz", MFD_CLOEXEC)) {
    Require(file_ >= 0);
    Require(write(file_, bytes.data(), bytes.size()) ==
            static_cast<ssize_t>(bytes.size()));
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
    Require(entry.begin <= entry.end);
    Require(entry.end <= file_bytes - file.header().data_offset);
    Require(file.Find(entry.name) == &entry);
    Try([&] {  // not every dtype is read
      const size_t count = static_cast<size_t>(entry.num_elements);
      Require(file.Read(entry).size() == count);
    });
  }
}

void LoadAs(const std::string& path, eval::Layout layout) {
  eval::CaptureOptions options;
  options.layout = layout;
  const eval::TensorSource source = eval::LoadCapture(path, options);
  Require(!source.layers.empty());
  for (const eval::Layer& layer : source.layers) RequireSentence(layer.name);
}

void Run(std::string_view bytes) {
  const MemoryFile file(bytes);
  const std::string path = file.Path();
  Try([&] { ReadAll(path, bytes.size()); });
  Try([&] { LoadAs(path, eval::Layout::kBshd); });
  Try([&] { LoadAs(path, eval::Layout::kBhsd); });
  // Few mutations keep the length in front right: the header alone, too.
  for (const uint64_t data_bytes : {uint64_t{0}, uint64_t{64}}) {
    Try([&] { io::ParseSafetensorsHeader(bytes, data_bytes); });
  }
}

const FuzzTarget kTarget("safetensors", Run, SafetensorsSeeds,
                         {"\0\xff\"[{}9-", 8});

}  // namespace
}  // namespace heed::test
