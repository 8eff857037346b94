// SPDX-License-Identifier: Apache-2.0
// XXH3-64, the hash of everything that a file of a run holds.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace elastic {

/// XXH3-64 of bytes, without a seed.
std::uint64_t content_hash(const void* data, std::size_t bytes);
inline std::uint64_t content_hash(std::string_view text) {
  return content_hash(text.data(), text.size());
}

/// The hash of bytes that come in pieces.
class ContentHasher {
 public:
  ContentHasher();
  ~ContentHasher();
  void add(const void* data, std::size_t bytes);
  std::uint64_t value() const;

 private:
  struct State;
  std::unique_ptr<State> m_state;
};

/// 16 hexadecimal digits in lower case, and what they spell (nothing for any other text).
std::string spell_hash(std::uint64_t hash);
std::optional<std::uint64_t> parse_hash(std::string_view digits);

}  // namespace elastic
