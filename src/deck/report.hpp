// SPDX-License-Identifier: Apache-2.0
// All mistakes of a deck in one message, sorted by line.
#pragma once
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "deck/parser.hpp"

namespace elastic {

/// Collects mistakes; made by resolve() (resolve.hpp). A caller adds contradictions between
/// keys, then calls throw_if_any().
class DeckReport {
 public:
  /// Starts with the mistakes of grammar.
  explicit DeckReport(const Deck& deck) : m_file(deck.file()), m_mistakes(deck.mistakes()) {}

  /// Adds a mistake of a bound key; its line and value are looked up here. An empty key means
  /// the block itself. Ignored if resolve() already refused the key: a contradiction with a value
  /// that does not count is noise. Throws ContractError if the schema has no such key.
  void add(const std::string& block, const std::string& key, std::string message);
  /// True if resolve() could not accept the value of this key (its member then holds the default).
  bool is_wrong(const std::string& block, const std::string& key) const {
    return m_wrong.count({block, key}) > 0;
  }

  bool empty() const { return m_mistakes.empty(); }
  std::size_t size() const { return m_mistakes.size(); }
  /// "N mistakes in FILE:" and one line each: `file:line <block>/key = value: what was expected`.
  std::string text() const;
  /// Throws InputError with text() if there is any mistake.
  void throw_if_any() const;

  /// For resolve() only. describe: what a later add() prints for a key. add_at: a mistake at any
  /// place. add_wrong: a key whose value is refused.
  void describe(const std::string& block, const std::string& key, DeckPlace place,
                std::string subject);
  void add_at(DeckPlace place, std::string subject, std::string message);
  void add_wrong(const std::string& block, const std::string& key, std::string message);

 private:
  using Name = std::pair<std::string, std::string>;
  std::string m_file;
  std::vector<DeckMistake> m_mistakes;
  std::map<Name, std::pair<DeckPlace, std::string>> m_described;
  std::set<Name> m_wrong;
};

}  // namespace elastic
