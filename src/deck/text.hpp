// SPDX-License-Identifier: Apache-2.0
// Small helpers on text: trimming, splitting, byte checks, the search for the nearest valid name.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace elastic::impl {

/// `text` without blanks and tabs at both ends.
std::string_view trim(std::string_view text);
/// The items of a list: the pieces of `text` between commas that stand in no quotes, trimmed, with
/// their quotes; no text at all gives none.
std::vector<std::string_view> split_items(std::string_view text);
/// "a, b, c"
std::string join(const std::vector<std::string>& items);

/// What stands in quotes, as README.md describes them, is no mark of the grammar.
struct Unquoted {
  std::string marks;  ///< the text, quoted parts as blanks, of its length
  std::size_t unclosed = std::string_view::npos;  ///< where an opening quote is that never closes
};
/// `text`: a line, whose quotes open after its = and which a comment may end; or a value.
enum class QuotesIn { line, value };
Unquoted without_quoted(std::string_view text, QuotesIn where);
/// The text that a value stands for: itself, or what its quotes hold. Returns what is wrong with
/// the quotes, and leaves `plain` as it was; empty if nothing is.
std::string unquote(std::string_view value, std::string& plain);
/// The value that stands for a text: itself where it reads back as that, else quoted. `in_list`:
/// as an item of a list.
std::string quote_if_needed(const std::string& text, bool in_list);

/// Says which byte at which column is not printable UTF-8 (tabs are allowed); empty if none.
std::string find_bad_byte(std::string_view line);
/// Block and key names: a letter, then letters, digits, '_', '-' or '.', at most 64 characters.
bool is_name(std::string_view text);
/// Text to quote in a message: cut (between characters) to about 60 bytes.
std::string shorten(std::string_view text);

/// Edit distance (insert, delete, replace, swap of neighbours);
/// upper and lower case are alike, and so are '-' and '_'.
std::size_t edit_distance(std::string_view a, std::string_view b);
/// The choice most like a name, and how far it is from it.
struct Nearest {
  std::string name;
  std::size_t distance;
};
/// The choice most like `name`, if one is alike:
/// a third of its letters may differ, or `name` begins it.
std::optional<Nearest> nearest(std::string_view name, const std::vector<std::string>& choices);

}  // namespace elastic::impl
