// SPDX-License-Identifier: Apache-2.0
// The input deck as text: blocks of `key = value` lines and command-line overrides, with the place
// of each entry. Nothing here knows which keys exist: that is schema.hpp.
//
//   # comment
//   <stage1>                      # opens a block
//   seq_length = 8192             # key = value
//   pattern    = M-M*- &          # & continues on the next line
//                M-M-
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/types.hpp"

namespace elastic {

/// Where a value came from.
enum class ValueOrigin { default_value, deck, command_line };
/// "default", "deck" or "command line".
std::string_view to_string(ValueOrigin origin);

/// A place in the deck (line >= 1), the deck as a whole (line 0) or the command line.
struct DeckPlace {
  ValueOrigin origin = ValueOrigin::deck;
  index_t line = 0;
};
struct DeckEntry {
  /// `value`: comment removed, trimmed, continued lines joined by one blank.
  std::string block, key, value;
  DeckPlace place;
};
struct DeckBlock {
  std::string name;
  DeckPlace place;
};
/// What is wrong at a place.
struct DeckMistake {
  DeckPlace place;
  std::string subject;  ///< "<block>/key = value", or empty
  std::string message;
};

/// The parsed deck. Accepts any bytes: what is not grammar becomes a mistake,
/// and reading goes on with the next line.
class Deck {
 public:
  /// Parses the `text` of a deck. `file` names it in messages. `overrides` are "block/key=value"
  /// from the command line: an override replaces the deck's value, a later one an earlier one.
  Deck(std::string_view text, std::string file, const std::vector<std::string>& overrides = {});

  const std::string& file() const { return m_file; }
  const std::vector<DeckEntry>& entries() const { return m_entries; }
  const std::vector<DeckMistake>& mistakes() const { return m_mistakes; }
  /// Blocks in order of appearance; those named only on the command line come last.
  const std::vector<DeckBlock>& blocks() const { return m_blocks; }
  bool has_block(const std::string& name) const { return m_block_index.count(name) > 0; }
  /// The deck's blocks <prefix1>, <prefix2>, ... in the order of their numbers (gaps allowed).
  std::vector<std::string> numbered_blocks(std::string_view prefix) const;
  /// The entry of a key, or nullptr.
  const DeckEntry* find(const std::string& block, const std::string& key) const;

 private:
  void parse(std::string_view text);
  void open_block(std::string_view line, index_t number);
  void add_assignment(std::string_view line, index_t number);
  void add_override(std::string_view assignment);
  DeckBlock& block_of(const std::string& name, DeckPlace place);
  void add_mistake(DeckPlace place, std::string message) {
    m_mistakes.push_back({place, "", std::move(message)});
  }

  std::string m_file;
  std::vector<DeckEntry> m_entries;
  std::vector<DeckBlock> m_blocks;
  std::vector<DeckMistake> m_mistakes;
  std::map<std::pair<std::string, std::string>, std::size_t> m_entry_index;
  std::map<std::string, std::size_t> m_block_index;
  std::string m_current;  ///< block being read
  bool m_skip = false;    ///< its header was unreadable: do not blame its keys
};

/// The text of a deck file, to be read on one rank and broadcast.
/// Throws InputError if it cannot be read, is larger than 1 MiB or is not text.
std::string read_deck_file(const std::string& path);

}  // namespace elastic
