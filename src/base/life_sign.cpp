// SPDX-License-Identifier: Apache-2.0
#include "base/life_sign.hpp"

#include <algorithm>
#include <cstring>

namespace elastic {
namespace {
constexpr auto relaxed = std::memory_order_relaxed;
LifeSign g_own;
std::atomic<LifeSign*> g_shown = &g_own;

using Words = std::array<std::uint64_t, std::tuple_size_v<decltype(LifeSign::region)>>;
}  // namespace

LifeSign& life_sign() { return *g_shown.load(relaxed); }

void show_life_sign_in(LifeSign* place) {
  LifeSign* const to = place == nullptr ? &g_own : place;
  const LifeSign& from = life_sign();
  to->step.store(from.step.load(relaxed), relaxed);
  for (std::size_t i = 0; i < from.region.size(); ++i)
    to->region[i].store(from.region[i].load(relaxed), relaxed);
  g_shown.store(to, relaxed);
}

void note_progress() { life_sign().progress.fetch_add(1, relaxed); }
void note_step(std::int64_t step) { life_sign().step.store(step, relaxed); }

void note_region(const std::string& path) {
  LifeSign& sign = life_sign();
  Words words = {};
  std::memcpy(words.data(), path.data(), std::min(path.size(), sizeof words - 1));
  for (std::size_t i = 0; i < words.size(); ++i) sign.region[i].store(words[i], relaxed);
  sign.progress.fetch_add(1, relaxed);
}

std::string region_of(const LifeSign& sign) {
  Words words = {};
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = sign.region[i].load(relaxed);
  std::array<char, sizeof words> text = {};
  std::memcpy(text.data(), words.data(), sizeof words);
  text.back() = '\0';
  return text[0] == '\0' ? "no region" : text.data();
}

}  // namespace elastic
