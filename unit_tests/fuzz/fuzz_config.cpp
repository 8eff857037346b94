// SPDX-License-Identifier: Apache-2.0
// config.json of a Hugging Face folder.
#include "fuzz_support.hpp"
#include "interop/hf_config.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  elastic::fuzz::accept_or_refuse([&] {
    const auto config = elastic::read_hf_config(text, "config.json");
    elastic::check_shape(config.shape);  // whatever is accepted is a model
  });
  return 0;
}
