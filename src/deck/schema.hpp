// SPDX-License-Identifier: Apache-2.0
// The keys a program knows. Each key is bound once to a struct member;
// the member's value at binding is the default.
//
//   Schema schema;
//   schema.block("optimizer", "How parameters move.")
//       .bind("learning_rate", &config.learning_rate,
//             {.unit = "1", .range = Interval::positive(), .help = "Peak rate."})
//       .bind("type", &config.type, {{"adamw", Type::adamw}, {"muon", Type::muon}},
//             {.help = "Update rule."});
#pragma once
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "deck/parser.hpp"
#include "deck/value.hpp"

namespace elastic {

/// What is known of a key besides its type.
struct KeyOptions {
  bool required = false;  ///< must stand in the deck (or on the command line), and not be empty
  std::string unit = {};  ///< "1" for pure numbers, empty for text
  Interval range = {};    ///< of a number, or of every item of a list of numbers
  std::vector<std::string> allowed = {};  ///< allowed values as written in the deck; empty: all
  std::string help = {};                  ///< one sentence
};

/// One bound key. `read` assigns the member from text and returns true, or leaves it untouched and
/// may say more in `detail`.
struct SchemaKey {
  std::string name = {};
  KeyOptions options = {};
  std::string expected = {};      ///< "an integer >= 1": for messages and for the reference
  std::string default_text = {};  ///< the member's value at binding
  std::function<bool(std::string_view text, std::string& detail)> read = {};
  std::function<std::string()> write = {};
  ValueOrigin origin = ValueOrigin::default_value;  ///< set by resolve()
};

/// The keys of one block.
class SchemaBlock {
 public:
  SchemaBlock(std::string name, std::string help, bool optional)
      : m_name(std::move(name)), m_help(std::move(help)), m_optional(optional) {}

  /// Binds a key to `*member`, which must outlive the schema. Throws ContractError if the name is
  /// taken or malformed, or if the default of a key that is not required is no valid value of it.
  template <DeckValue T>
  SchemaBlock& bind(std::string name, T* member, KeyOptions options = {});
  /// Binds an enum by the names of its values.
  template <class E>
  requires std::is_enum_v<E> SchemaBlock& bind(std::string name, E* member,
                                               std::vector<std::pair<std::string, E>> choices,
                                               KeyOptions options = {});
  /// Binds text in which white space is ignored and only the given characters may stand,
  /// for example a layer pattern.
  SchemaBlock& bind_pattern(std::string name, std::string* member, std::string characters,
                            KeyOptions options = {});

  /// A key of decks of earlier versions. It is refused; the message says what replaces it. Throws
  /// ContractError if it is bound.
  SchemaBlock& replaced(std::string former, std::string by);
  /// What replaces such a key, or null.
  const std::string* replacement(std::string_view former) const;

  const std::string& name() const { return m_name; }
  const std::string& help() const { return m_help; }
  const std::deque<SchemaKey>& keys() const { return m_keys; }
  std::deque<SchemaKey>& keys() { return m_keys; }
  std::vector<std::string> key_names() const;
  const SchemaKey* find(std::string_view key) const;
  /// False for an optional block that the deck did not have; set by resolve().
  bool is_used() const { return m_used; }
  void set_used(bool used) { m_used = used; }
  bool is_optional() const { return m_optional; }

 private:
  SchemaBlock& add(SchemaKey key);

  std::string m_name, m_help;
  bool m_optional, m_used = true;
  std::deque<SchemaKey> m_keys;
  std::map<std::string, std::string, std::less<>> m_replaced;
};

/// All blocks that a program knows.
class Schema {
 public:
  /// A block; all its keys take their defaults if the deck does not have it. Throws ContractError
  /// if the name is taken. References stay valid when more blocks are added.
  SchemaBlock& block(std::string name, std::string help) {
    return add(std::move(name), std::move(help), false);
  }
  /// A block whose required keys are required only if the deck has the block.
  SchemaBlock& optional_block(std::string name, std::string help) {
    return add(std::move(name), std::move(help), true);
  }

  const std::deque<SchemaBlock>& blocks() const { return m_blocks; }
  std::deque<SchemaBlock>& blocks() { return m_blocks; }
  std::vector<std::string> block_names() const;
  const SchemaBlock* find(std::string_view block) const;

 private:
  SchemaBlock& add(std::string name, std::string help, bool optional);
  std::deque<SchemaBlock> m_blocks;
};

// Definitions of the templates above.

template <class E>
requires std::is_enum_v<E> SchemaBlock& SchemaBlock::bind(
    std::string name, E* member, std::vector<std::pair<std::string, E>> choices,
    KeyOptions options) {
  options.allowed.clear();
  for (const auto& choice : choices) options.allowed.push_back(choice.first);
  SchemaKey key{.name = std::move(name), .options = std::move(options)};
  key.read = [member, choices](std::string_view text, std::string&) {
    for (const auto& [word, value] : choices)
      if (word == text) return *member = value, true;
    return false;
  };
  key.write = [member, choices]() -> std::string {
    for (const auto& [word, value] : choices)
      if (value == *member) return word;
    throw_contract("an enum holds a value that has no name in the deck");
  };
  return add(std::move(key));
}

}  // namespace elastic
