// SPDX-License-Identifier: Apache-2.0
// A safetensors file: its header, and the bytes of every tensor.
#include "fuzz_support.hpp"
#include "interop/safetensors.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto path = elastic::fuzz::file_of("model.safetensors", data, size);
  elastic::fuzz::accept_or_refuse([&] {
    const elastic::SafetensorsReader reader(path);
    std::vector<char> bytes;
    for (const auto& entry : reader.entries()) {
      bytes.resize(entry.bytes());
      reader.read(entry, 0, bytes.size(), bytes.data());
    }
  });
  return 0;
}
