// SPDX-License-Identifier: Apache-2.0
// PREFIX.idx and PREFIX.bin: the first byte says how many 32nds of the rest are the index. The end
// of .bin is PREFIX.mask, too, and all of it PREFIX.json.
#include "data/dataset_summary.hpp"
#include "fuzz_support.hpp"

namespace {
/// Every token of every document, as training would read them.
void read_all(const std::string& prefix, bool with_mask) {
  const elastic::IndexedDataset dataset(prefix, 300, with_mask);
  std::string why_not;
  if (const auto summary = elastic::read_summary(prefix, dataset, why_not))
    elastic::require_known_ids(prefix, *summary, dataset);
  std::vector<elastic::token_t> tokens;
  std::vector<float> counts;
  for (elastic::index_t d = 0; d < dataset.num_documents(); ++d) {
    tokens.resize(static_cast<std::size_t>(dataset.document_length(d)));
    dataset.read(d, 0, tokens);
    counts.resize(tokens.size());
    dataset.read_counts(d, 0, counts);
    if (dataset.has_target(d) != (dataset.num_targets(d) > 0)) std::abort();
  }
}
}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using elastic::fuzz::accept_or_refuse, elastic::fuzz::file_of;
  if (size == 0) return 0;
  const std::size_t rest = size - 1, index = rest * (data[0] % 33) / 32, bin = rest - index;
  file_of("data.idx", data + 1, index);
  file_of("data.bin", data + 1 + index, bin);
  file_of("data.json", data + 1 + index, bin);
  const std::string prefix = (elastic::fuzz::scratch() / "data").string();
  accept_or_refuse([&] { read_all(prefix, false); });
  for (const std::size_t item : {1, 2, 4}) {
    const std::size_t ids = bin / item;
    file_of("data.mask", data + size - ids, ids);
    accept_or_refuse([&] { read_all(prefix, true); });
  }
  return 0;
}
