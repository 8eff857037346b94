// SPDX-License-Identifier: Apache-2.0
// Windows of text files.
#include "data/text_source.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "data/packing.hpp"

namespace elastic {
namespace {
constexpr index_t fewest_held_out = 256;  // bytes: fewer say nothing about a model
}

TextSource::TextSource(const TextSourceConfig& config, std::uint32_t seed, std::uint64_t stream)
    : m_key{seed, RandomPurpose::sample_order, stream} {
  if (config.files.empty()) throw InputError("text: no file given; expected one or more");
  if (!(config.validation_fraction >= 0.001 && config.validation_fraction <= 0.5))
    throw InputError(fmt::format("text: a validation fraction of {}; expected 0.001 to 0.5",
                                 config.validation_fraction));
  if (config.held_out_bytes < 2)
    throw InputError(fmt::format("text: held-out stretches of {} bytes; expected 2 or more",
                                 config.held_out_bytes));
  index_t total = 0, held_out = 0;
  for (const auto& path : config.files) {
    m_files.emplace_back(path);
    if (m_files.back().size() == 0)
      throw InputError(fmt::format("{}: is empty; expected text", path));
    total += m_files.back().size();
    divide(m_files.size() - 1, config);
  }
  for (const Stretch& stretch : m_validation) held_out += stretch.end - stretch.begin;
  if (held_out < fewest_held_out)
    throw InputError(fmt::format(
        "{}: {} bytes, of which {} are held out for validation; expected at least {} bytes, of "
        "which {} would be held out",
        fmt::join(config.files, ", "), total, held_out,
        std::llround(std::ceil(fewest_held_out / config.validation_fraction)), fewest_held_out));
  if (m_train.empty())
    throw InputError(
        fmt::format("{}: no byte has a target for training, as each file is shorter than 4 bytes",
                    fmt::join(config.files, ", ")));
}

void TextSource::divide(std::size_t file, const TextSourceConfig& config) {
  const index_t size = m_files[file].size();
  const double wanted = static_cast<double>(size) * config.validation_fraction;
  const index_t parts =
      std::max<index_t>(1, std::llround(wanted / static_cast<double>(config.held_out_bytes)));
  for (index_t p = 0; p < parts; ++p) {
    const index_t begin = size / parts * p, end = p + 1 < parts ? begin + size / parts : size;
    const auto middle = end - std::llround(static_cast<double>(end - begin) *  //
                                           config.validation_fraction);
    if (middle - begin > 1) m_train.push_back({file, begin, middle});
    if (end - middle > 1) m_validation.push_back({file, middle, end});
  }
}

index_t TextSource::Stretch::windows(index_t seq_length) const {
  return std::max<index_t>(1, end - begin - seq_length);
}

void TextSource::fill(Split split, index_t sample, Row row) const {
  ELASTIC_REQUIRE(sample >= 0, "sample {}", sample);
  const auto& candidates = stretches(split);
  index_t places = 0;
  for (const Stretch& stretch : candidates) places += stretch.windows(row.length());
  const auto draw = 2 * static_cast<std::uint64_t>(sample) + (split == Split::validation);
  auto place = static_cast<index_t>(random_below(m_key, draw, static_cast<std::uint64_t>(places)));
  auto stretch = candidates.begin();
  for (; place >= stretch->windows(row.length()); ++stretch)
    place -= stretch->windows(row.length());

  const index_t begin = stretch->begin + place;
  const index_t count = std::min(row.length() + 1, stretch->end - begin);
  const auto bytes = m_files[stretch->file].bytes().subspan(static_cast<std::size_t>(begin),
                                                            static_cast<std::size_t>(count));
  std::vector<token_t> text(bytes.size());
  std::transform(bytes.begin(), bytes.end(), text.begin(),
                 [](std::byte b) { return std::to_integer<token_t>(b); });
  RowPacker packer(row);
  packer.add_piece(text, std::min(count, row.length()));
  packer.finish(0);
}

}  // namespace elastic
