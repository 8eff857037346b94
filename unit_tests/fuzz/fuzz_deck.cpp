// SPDX-License-Identifier: Apache-2.0
// A deck: text to typed keys, contradictions between keys included.
#include "config/run_config.hpp"
#include "fuzz_support.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  elastic::fuzz::accept_or_refuse([&] {
    const auto deck = elastic::read_run_config(text, "fuzz.in", {});
    // What was resolved is a deck, and says the same.
    if (elastic::read_run_config(deck.text, "resolved.in", {}).hash != deck.hash) std::abort();
  });
  return 0;
}
