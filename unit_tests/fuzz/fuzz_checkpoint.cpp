// SPDX-License-Identifier: Apache-2.0
// A checkpoint file: opening it, everything in it, and the hashes.
#include "fuzz_support.hpp"
#include "io/checkpoint_file.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto path = elastic::fuzz::file_of("checkpoint.h5", data, size);
  elastic::fuzz::accept_or_refuse([&] {
    const elastic::CheckpointReader reader(path);
    reader.verify();
    for (const auto& name : reader.texts()) reader.text(name);
    reader.attributes();
  });
  return 0;
}
