// SPDX-License-Identifier: Apache-2.0
// A file of token ids, one text per line.
#include "fuzz_support.hpp"
#include "verbs/token_text.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto path = elastic::fuzz::file_of("tokens.txt", data, size);
  elastic::fuzz::accept_or_refuse([&] {
    for (const auto& line : elastic::read_token_lines(path, 64))
      for (const auto token : line)
        if (token < 0 || token >= 64) std::abort();
  });
  return 0;
}
