// SPDX-License-Identifier: Apache-2.0
// PREFIX.idx and PREFIX.bin: the first byte says how many 32nds of the rest are the index.
#include "data/indexed_dataset.hpp"
#include "fuzz_support.hpp"

namespace {
/// Every token of every document, as training would read them.
void read_all(const std::string& prefix) {
  const elastic::IndexedDataset dataset(prefix, 300);
  std::vector<elastic::token_t> tokens;
  for (elastic::index_t d = 0; d < dataset.num_documents(); ++d) {
    tokens.resize(static_cast<std::size_t>(dataset.document_length(d)));
    dataset.read(d, 0, tokens);
  }
}
}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t rest = size - 1, index = rest * (data[0] % 33) / 32;
  elastic::fuzz::file_of("data.idx", data + 1, index);
  elastic::fuzz::file_of("data.bin", data + 1 + index, rest - index);
  elastic::fuzz::accept_or_refuse([] { read_all((elastic::fuzz::scratch() / "data").string()); });
  return 0;
}
