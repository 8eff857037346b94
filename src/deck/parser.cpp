// SPDX-License-Identifier: Apache-2.0
// Line grammar of the deck, see parser.hpp.
#include "deck/parser.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/error.hpp"
#include "deck/text.hpp"

namespace elastic {
namespace {

using impl::shorten;
using impl::trim;

std::vector<std::string_view> split_lines(std::string_view text) {
  if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);  // byte order mark
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    lines.push_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

/// A line without its comment.
struct Content {
  std::string_view text;
  std::string mistake = {};  ///< of its quotes
};

Content without_comment(std::string_view line, impl::QuotesIn where) {
  // A line that continues a value is one: its quotes may open at once, and a comment may end it.
  std::string probe(where == impl::QuotesIn::value ? "=" : "");
  const std::size_t shift = probe.size();
  probe += line;
  const auto unquoted = impl::without_quoted(probe, impl::QuotesIn::line);
  if (unquoted.unclosed != line.npos)
    return {.text = {},
            .mistake = fmt::format("the quote in column {} is not closed on its line",
                                   unquoted.unclosed - shift + 1)};
  const std::size_t comment = unquoted.marks.find('#');
  const auto text = trim(line.substr(0, comment == line.npos ? comment : comment - shift));
  if (!text.empty() && text.back() == '=' && comment != line.npos &&
      trim(line.substr(comment - shift + 1)).empty())
    return {.text = {}, .mistake = "# begins a comment; the text # is written \"#\", with quotes"};
  return {.text = text};
}

/// Takes a trailing & off; true if there was one.
bool take_continuation(std::string_view& line) {
  if (line.empty() || line.back() != '&') return false;
  line = trim(line.substr(0, line.size() - 1));
  return true;
}

constexpr std::string_view name_rule = "a letter, then letters, digits or _, at most 64 characters";

}  // namespace

std::string_view to_string(ValueOrigin origin) {
  if (origin == ValueOrigin::default_value) return "default";
  return origin == ValueOrigin::deck ? "deck" : "command line";
}

Deck::Deck(std::string_view text, std::string file, const std::vector<std::string>& overrides)
    : m_file(std::move(file)) {
  parse(text);
  for (const std::string& assignment : overrides) add_override(assignment);
}

void Deck::parse(std::string_view text) {
  const std::vector<std::string_view> lines = split_lines(text);
  const auto place = [](std::size_t i) {
    return DeckPlace{ValueOrigin::deck, static_cast<index_t>(i) + 1};
  };
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (const std::string bad = impl::find_bad_byte(lines[i]); !bad.empty()) {
      add_mistake(place(i), bad);
      continue;
    }
    const Content content = without_comment(lines[i], impl::QuotesIn::line);
    if (!content.mistake.empty()) {
      add_mistake(place(i), content.mistake);
      continue;
    }
    std::string_view line = content.text;
    if (line.empty()) continue;
    if (line.front() == '<') {
      open_block(line, place(i).line);
      continue;
    }
    const index_t first = place(i).line;
    bool continues = take_continuation(line);
    std::string joined(line);
    while (continues) {
      const std::string_view raw = i + 1 < lines.size() ? lines[i + 1] : std::string_view();
      const Content further = without_comment(raw, impl::QuotesIn::value);
      std::string_view next = further.text;
      const bool is_value =
          !next.empty() && next.front() != '<' &&
          impl::without_quoted(next, impl::QuotesIn::value).marks.find('=') == next.npos;
      if (!further.mistake.empty()) {
        add_mistake(place(++i), further.mistake);
        break;
      }
      if (!is_value || !impl::find_bad_byte(raw).empty()) {
        add_mistake(place(i), "ends with &, but the next line does not continue the value");
        break;
      }
      ++i;
      continues = take_continuation(next);
      joined.append(" ").append(next);
    }
    add_assignment(joined, first);
  }
}

DeckBlock& Deck::block_of(const std::string& name, DeckPlace place) {
  const auto [found, is_new] = m_block_index.try_emplace(name, m_blocks.size());
  if (is_new) m_blocks.push_back({name, place});
  return m_blocks[found->second];
}

void Deck::open_block(std::string_view line, index_t number) {
  const DeckPlace place{ValueOrigin::deck, number};
  const std::string name(line.back() == '>' ? trim(line.substr(1, line.size() - 2))
                                            : std::string_view());
  m_skip = !impl::is_name(name);
  if (m_skip) {
    add_mistake(place,
                fmt::format("expected a block <name> ({}), found '{}'", name_rule, shorten(line)));
    return;
  }
  m_current = name;
  if (const DeckPlace opened = block_of(name, place).place; opened.line != number)
    add_mistake(place,
                fmt::format("block <{}> was opened before on line {}; keep its keys together", name,
                            opened.line));
}

void Deck::add_assignment(std::string_view line, index_t number) {
  const DeckPlace place{ValueOrigin::deck, number};
  const std::size_t equals = line.find('=');
  const std::string key(trim(line.substr(0, equals)));
  if (equals == line.npos) {
    add_mistake(place, fmt::format("expected 'key = value', '<block>' or '# comment', found '{}'",
                                   shorten(line)));
  } else if (!impl::is_name(key)) {
    add_mistake(place, fmt::format("'{}' is not a key name ({})", shorten(key), name_rule));
  } else if (m_skip) {
    return;
  } else if (m_current.empty()) {
    add_mistake(place, fmt::format("key '{}' stands before the first <block>", key));
  } else if (const DeckEntry* earlier = find(m_current, key)) {
    m_mistakes.push_back(
        {place, fmt::format("<{}>/{}", m_current, key),
         fmt::format("duplicate key, first given on line {}", earlier->place.line)});
  } else {
    m_entry_index[{m_current, key}] = m_entries.size();
    m_entries.push_back({m_current, key, std::string(trim(line.substr(equals + 1))), place});
  }
}

void Deck::add_override(std::string_view assignment) {
  const DeckPlace place{ValueOrigin::command_line, 0};
  if (const std::string bad = impl::find_bad_byte(assignment); !bad.empty())
    return add_mistake(place, bad);
  const std::size_t equals = assignment.find('='), slash = assignment.substr(0, equals).find('/');
  const bool complete = equals != assignment.npos && slash != assignment.npos;
  const std::string block(complete ? trim(assignment.substr(0, slash)) : std::string_view());
  const std::string key(complete ? trim(assignment.substr(slash + 1, equals - slash - 1))
                                 : std::string_view());
  if (!impl::is_name(block) || !impl::is_name(key))
    return add_mistake(place,
                       fmt::format("expected block/key=value, found '{}'", shorten(assignment)));
  const std::string value(trim(assignment.substr(equals + 1)));
  if (const auto open = impl::without_quoted(value, impl::QuotesIn::value).unclosed;
      open != value.npos)
    return add_mistake(place, fmt::format("the quote is not closed in '{}'", shorten(assignment)));

  block_of(block, place);
  const auto [found, is_new] = m_entry_index.try_emplace({block, key}, m_entries.size());
  if (is_new) m_entries.emplace_back();
  m_entries[found->second] = {block, key, value, place};
}

const DeckEntry* Deck::find(const std::string& block, const std::string& key) const {
  const auto found = m_entry_index.find({block, key});
  return found == m_entry_index.end() ? nullptr : &m_entries[found->second];
}

std::vector<std::string> Deck::numbered_blocks(std::string_view prefix) const {
  std::map<index_t, std::string> sorted;
  for (const DeckBlock& block : m_blocks) {
    const std::string_view name = block.name;
    if (name.substr(0, prefix.size()) != prefix) continue;
    const std::string_view digits = name.substr(prefix.size());
    index_t number = 0;
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    const bool is_number = read.ec == std::errc() && read.ptr == digits.data() + digits.size();
    if (is_number && digits.front() >= '1' && digits.front() <= '9') sorted[number] = block.name;
  }
  std::vector<std::string> names;
  for (auto& [number, name] : sorted) names.push_back(std::move(name));
  return names;
}

std::string read_deck_file(const std::string& path) {
  constexpr std::size_t limit = std::size_t(1) << 20;
  namespace fs = std::filesystem;
  std::error_code ignored;
  const bool is_folder = fs::is_directory(path, ignored);
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (is_folder || !file) {
    const char* reason = is_folder ? "it is a folder" : std::strerror(errno);
    std::vector<std::string> names;
    const fs::path folder =
        fs::path(path).has_parent_path() ? fs::path(path).parent_path() : fs::path(".");
    for (fs::directory_iterator item(folder, ignored), end; !ignored && item != end;
         item.increment(ignored))
      names.push_back(item->path().filename().string());
    std::sort(names.begin(), names.end());
    const auto near = impl::nearest(fs::path(path).filename().string(), names);
    const bool useful = near && near->distance > 0;
    throw InputError(fmt::format("cannot read deck '{}': {}{}", path, reason,
                                 useful ? fmt::format("; nearest file '{}'", near->name) : ""));
  }
  std::string text(limit + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) throw InputError(fmt::format("cannot read deck '{}': read error", path));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > limit)
    throw InputError(fmt::format("deck '{}' is larger than 1 MiB: not an input deck", path));
  if (text.find('\0') != text.npos)
    throw InputError(fmt::format("deck '{}' is not a text file", path));
  return text;
}

}  // namespace elastic
