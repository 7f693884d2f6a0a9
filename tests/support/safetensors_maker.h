// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Makes safetensors files, right and wrong ones.
#ifndef HEED_TESTS_SUPPORT_SAFETENSORS_MAKER_H_
#define HEED_TESTS_SUPPORT_SAFETENSORS_MAKER_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace heed::test {

// The bytes of a file: the length of the header as 8 bytes, the header, data.
inline std::string SafetensorsBytes(const std::string& header,
                                    const std::string& data) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) {
    bytes += static_cast<char>((static_cast<uint64_t>(header.size()) >> 8 * i) &
                               0xff);
  }
  return bytes + header + data;
}

// Adds tensors one after the other, as a correct writer does.
class SafetensorsMaker {
 public:
  // `shape` as JSON: "[2,3]".
  SafetensorsMaker& Add(const std::string& name, const std::string& dtype,
                        const std::string& shape, const std::string& bytes) {
    const size_t begin = data_.size();
    data_ += bytes;
    return Entry("\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" +
                 shape + ",\"data_offsets\":[" + std::to_string(begin) + "," +
                 std::to_string(data_.size()) + "]}");
  }
  SafetensorsMaker& AddF32(const std::string& name, const std::string& shape,
                           const std::vector<float>& values) {
    std::string bytes(values.size() * sizeof(float), '\0');
    if (!bytes.empty()) std::memcpy(&bytes[0], values.data(), bytes.size());
    return Add(name, "F32", shape, bytes);
  }
  // Metadata as JSON: {"causal":"true"}.
  SafetensorsMaker& Metadata(const std::string& json) {
    return Entry("\"__metadata__\":" + json);
  }
  std::string Bytes() const {
    return SafetensorsBytes("{" + entries_ + "}", data_);
  }

 private:
  SafetensorsMaker& Entry(const std::string& text) {
    entries_ += (entries_.empty() ? "" : ",") + text;
    return *this;
  }

  std::string entries_;
  std::string data_;
};

// Two positions, two query heads on one key head, head_dim 2.
inline std::string SmallCapture() {
  return SafetensorsMaker()
      .Metadata(R"({"model":"none","causal":"true","softmax_scale":"0.5"})")
      .AddF32("layer.3.query", "[2,2,2]", {1, 2, 3, 4, 5, 6, 7, 8})
      .AddF32("layer.3.key", "[2,1,2]", {1, 0, 0, 1})
      .AddF32("layer.3.value", "[2,1,2]", {1, -1, 2, -2})
      .Bytes();
}

}  // namespace heed::test

#endif  // HEED_TESTS_SUPPORT_SAFETENSORS_MAKER_H_
