// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Reads safetensors files: https://github.com/huggingface/safetensors#format.
// The file is not trusted: nothing is allocated from a number in it before that
// number was held against the file's real size.
#ifndef HEED_LIB_IO_SAFETENSORS_H_
#define HEED_LIB_IO_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace heed::io {

// The longest header that is parsed. The largest public models stay below 2 MiB
// a file; the reference reader allows 100 MB.
inline constexpr uint64_t kMaxSafetensorsHeader = 16 << 20;

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // as in the file: "F32"
  std::vector<int64_t> shape;
  uint64_t begin = 0;  // bytes [begin, end) after the header
  uint64_t end = 0;
  int64_t num_elements = 0;
};

struct SafetensorsHeader {
  std::map<std::string, std::string> metadata;
  std::vector<SafetensorsEntry> entries;  // in the order of their bytes
  uint64_t data_offset = 0;               // where the bytes start in the file
};

// Parses a header. `text` is the JSON alone, `data_bytes` the bytes that follow
// it in the file. Throws InputError for anything that the format does not
// allow: other than one object of tensors; duplicate or unknown keys; dtypes it
// does not know; numbers that are negative, fractions or overflow; extents that
// do not fit dtype and shape; bytes that overlap, are missing, left over or
// outside the file.
SafetensorsHeader ParseSafetensorsHeader(std::string_view text,
                                         uint64_t data_bytes);

// Converts `count` elements at `bytes` (little-endian, unaligned is fine) to
// float, exactly. Throws InputError unless dtype is F32, F16 or BF16.
void DecodeFloats(const std::string& dtype, const unsigned char* bytes,
                  int64_t count, float* out);

// An open file. Movable; closes the file when it goes.
class SafetensorsFile {
 public:
  // Throws InputError, naming the path, where the file cannot be opened, is not
  // a regular file, is cut short or is not safetensors.
  explicit SafetensorsFile(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::string& path() const { return path_; }
  const SafetensorsHeader& header() const { return header_; }
  // Returns null where there is no such tensor.
  const SafetensorsEntry* Find(std::string_view name) const;
  // Returns the elements in the order of the file, as float. Throws InputError
  // for a dtype other than F32, F16 and BF16, and where the file cannot be read
  // (or became shorter since it was opened).
  std::vector<float> Read(const SafetensorsEntry& entry) const;

 private:
  void ReadHeader();
  void ReadBytes(uint64_t offset, size_t size, void* out) const;

  std::string path_;
  int fd_ = -1;
  SafetensorsHeader header_;
};

}  // namespace heed::io

#endif  // HEED_LIB_IO_SAFETENSORS_H_
