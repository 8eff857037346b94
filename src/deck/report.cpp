// SPDX-License-Identifier: Apache-2.0
// Sorting and printing of the mistakes of a deck, see report.hpp.
#include "deck/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "base/error.hpp"

namespace elastic {
namespace {

constexpr std::size_t max_listed = 50;

/// Lines of the deck first, then the deck as a whole, then the command line.
std::tuple<int, index_t> rank_of(const DeckMistake& mistake) {
  const DeckPlace place = mistake.place;
  if (place.origin == ValueOrigin::command_line) return {2, 0};
  return {place.line > 0 ? 0 : 1, place.line};
}

std::string place_text(DeckPlace place, const std::string& file) {
  if (place.origin == ValueOrigin::command_line) return "command line";
  return place.line > 0 ? fmt::format("{}:{}", file, place.line) : file;
}

}  // namespace

void DeckReport::describe(const std::string& block, const std::string& key, DeckPlace place,
                          std::string subject) {
  m_described[{block, key}] = {place, std::move(subject)};
}

void DeckReport::add_at(DeckPlace place, std::string subject, std::string message) {
  m_mistakes.push_back({place, std::move(subject), std::move(message)});
}

void DeckReport::add(const std::string& block, const std::string& key, std::string message) {
  const auto found = m_described.find({block, key});
  ELASTIC_REQUIRE(found != m_described.end(), "no key <{}>/{} in the schema", block, key);
  if (!is_wrong(block, key)) add_at(found->second.first, found->second.second, std::move(message));
}

void DeckReport::add_wrong(const std::string& block, const std::string& key, std::string message) {
  add(block, key, std::move(message));
  m_wrong.insert({block, key});
}

std::string DeckReport::text() const {
  std::vector<DeckMistake> sorted = m_mistakes;
  std::stable_sort(sorted.begin(), sorted.end(), [](const DeckMistake& a, const DeckMistake& b) {
    return rank_of(a) < rank_of(b);
  });
  std::string out =
      fmt::format("{} mistake{} in {}:", sorted.size(), sorted.size() == 1 ? "" : "s", m_file);
  for (std::size_t i = 0; i < std::min(sorted.size(), max_listed); ++i) {
    const auto& [place, subject, message] = sorted[i];
    out += fmt::format("\n  {}{}{}: {}", place_text(place, m_file), subject.empty() ? "" : " ",
                       subject, message);
  }
  if (sorted.size() > max_listed)
    out += fmt::format("\n  ... and {} more", sorted.size() - max_listed);
  return out;
}

void DeckReport::throw_if_any() const {
  if (!empty()) throw InputError(text());
}

}  // namespace elastic
