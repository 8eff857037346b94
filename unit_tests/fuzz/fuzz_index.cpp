// SPDX-License-Identifier: Apache-2.0
// model.safetensors.index.json beside one shard, of one tensor "a" of four bytes.
#include "fuzz_support.hpp"
#include "interop/hf_files.hpp"

namespace {
void write_shard() {
  std::string header = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = header.size();
  const std::string bytes = std::string(reinterpret_cast<const char*>(&length), sizeof length) +
                            header + std::string(4, 0);
  elastic::fuzz::file_of("part.safetensors", bytes.data(), sizeof length + header.size() + 4);
}
}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  write_shard();
  elastic::fuzz::file_of("model.safetensors.index.json", data, size);
  elastic::fuzz::accept_or_refuse(
      [] { const elastic::HfWeights weights(elastic::fuzz::scratch()); });
  return 0;
}
