// SPDX-License-Identifier: Apache-2.0
#include "io/content_hash.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <charconv>
#include <new>

namespace elastic {

std::uint64_t content_hash(const void* data, std::size_t bytes) { return XXH3_64bits(data, bytes); }

struct ContentHasher::State {
  XXH3_state_t* xxh3 = XXH3_createState();
  ~State() { XXH3_freeState(xxh3); }
};

ContentHasher::ContentHasher() : m_state(std::make_unique<State>()) {
  if (!m_state->xxh3) throw std::bad_alloc();
  XXH3_64bits_reset(m_state->xxh3);
}
ContentHasher::~ContentHasher() = default;

void ContentHasher::add(const void* data, std::size_t bytes) {
  XXH3_64bits_update(m_state->xxh3, data, bytes);
}
std::uint64_t ContentHasher::value() const { return XXH3_64bits_digest(m_state->xxh3); }

std::string spell_hash(std::uint64_t hash) { return fmt::format("{:016x}", hash); }

std::optional<std::uint64_t> parse_hash(std::string_view digits) {
  std::uint64_t hash = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, status] = std::from_chars(digits.data(), end, hash, 16);
  if (status != std::errc() || stop != end || spell_hash(hash) != digits) return std::nullopt;
  return hash;
}

}  // namespace elastic
