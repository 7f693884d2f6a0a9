// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Files and element types. Reads with pread rather than through a mapping: a
// file that another process cuts short is then an error and not a signal.
#include "lib/io/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "lib/io/input_error.h"
#include "lib/io/quoted.h"
#include "lib/oracle/element.h"

namespace heed::io {
namespace {

uint32_t LittleEndian(const unsigned char* bytes, int count) {
  uint32_t value = 0;
  for (int i = 0; i < count; ++i) {
    value |= static_cast<uint32_t>(bytes[i]) << (8 * i);
  }
  return value;
}

// An element of two bytes: bf16 or f16.
template <typename T>
float FromHalf(const unsigned char* bytes) {
  return oracle::Widen(T{static_cast<uint16_t>(LittleEndian(bytes, 2))});
}

}  // namespace

void DecodeFloats(const std::string& dtype, const unsigned char* bytes,
                  int64_t count, float* out) {
  if (dtype == "F32") {
    for (int64_t i = 0; i < count; ++i) {
      out[i] = std::bit_cast<float>(LittleEndian(bytes + 4 * i, 4));
    }
  } else if (dtype == "F16") {
    for (int64_t i = 0; i < count; ++i) {
      out[i] = FromHalf<f16>(bytes + 2 * i);
    }
  } else if (dtype == "BF16") {
    for (int64_t i = 0; i < count; ++i) {
      out[i] = FromHalf<bf16>(bytes + 2 * i);
    }
  } else {
    throw InputError("has dtype " + dtype +
                     "; only F32, F16 and BF16 can be read");
  }
}

SafetensorsFile::SafetensorsFile(const std::string& path) : path_(path) {
  // Non-blocking, so that a pipe without a writer is refused, not waited for.
  fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) {
    throw InputError("cannot open '" + path + "': " + std::strerror(errno));
  }
  try {
    ReadHeader();
  } catch (const InputError& error) {
    close(fd_);
    throw InputError("'" + path + "' " + error.what());
  } catch (...) {
    close(fd_);
    throw;
  }
}

SafetensorsFile::~SafetensorsFile() { close(fd_); }

void SafetensorsFile::ReadHeader() {
  struct stat info;
  if (fstat(fd_, &info) != 0) throw InputError(std::strerror(errno));
  if (S_ISDIR(info.st_mode)) throw InputError("is a directory, not a file");
  if (!S_ISREG(info.st_mode)) throw InputError("is not a regular file");
  const uint64_t file_bytes = static_cast<uint64_t>(info.st_size);
  if (file_bytes < 8) {
    throw InputError("is not a safetensors file: it has fewer than 8 bytes");
  }
  unsigned char prefix[8];
  ReadBytes(0, sizeof(prefix), prefix);
  const uint64_t header_bytes =
      LittleEndian(prefix, 4) |
      static_cast<uint64_t>(LittleEndian(prefix + 4, 4)) << 32;
  // First the cap: a file of another kind has text or a magic number here, and
  // "cut short" would mislead.
  if (header_bytes > kMaxSafetensorsHeader) {
    throw InputError(
        "is not a safetensors file, or its header is larger than the " +
        std::to_string(kMaxSafetensorsHeader >> 20) + " MiB that are read");
  }
  if (header_bytes > file_bytes - 8) {
    throw InputError("is cut short: its header ends beyond the file");
  }
  std::string text(header_bytes, '\0');
  ReadBytes(8, text.size(), text.data());
  if (text.empty() || text[0] != '{') {
    throw InputError(
        "is not a safetensors file: its header does not start with '{'");
  }
  header_ = ParseSafetensorsHeader(text, file_bytes - 8 - header_bytes);
  header_.data_offset = 8 + header_bytes;
}

void SafetensorsFile::ReadBytes(uint64_t offset, size_t size, void* out) const {
  char* to = static_cast<char*>(out);
  while (size > 0) {
    const ssize_t got = pread(fd_, to, size, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw InputError(std::strerror(errno));
    if (got == 0) throw InputError("became shorter while it was read");
    to += got;
    offset += static_cast<uint64_t>(got);
    size -= static_cast<size_t>(got);
  }
}

const SafetensorsEntry* SafetensorsFile::Find(std::string_view name) const {
  for (const SafetensorsEntry& entry : header_.entries) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

std::vector<float> SafetensorsFile::Read(const SafetensorsEntry& entry) const {
  try {
    if (entry.dtype != "F32" && entry.dtype != "F16" && entry.dtype != "BF16") {
      DecodeFloats(entry.dtype, nullptr, 0, nullptr);  // throws
    }
    // The entry lies inside the file, so its size is bounded by the file's.
    std::vector<float> values(static_cast<size_t>(entry.num_elements));
    const uint64_t element = entry.dtype == "F32" ? 4 : 2;
    constexpr int64_t kChunk = 1 << 16;
    std::vector<unsigned char> bytes(kChunk * 4);
    for (int64_t i = 0; i < entry.num_elements; i += kChunk) {
      const int64_t count = std::min(kChunk, entry.num_elements - i);
      ReadBytes(header_.data_offset + entry.begin +
                    static_cast<uint64_t>(i) * element,
                static_cast<size_t>(count) * element, bytes.data());
      DecodeFloats(entry.dtype, bytes.data(), count, values.data() + i);
    }
    return values;
  } catch (const InputError& error) {
    throw InputError("'" + path_ + "', tensor " + Quoted(entry.name) + ": " +
                     error.what());
  }
}

}  // namespace heed::io
