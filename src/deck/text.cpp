// SPDX-License-Identifier: Apache-2.0
// Text helpers of the deck, see text.hpp.
#include "deck/text.hpp"

#include <fmt/ranges.h>

#include <algorithm>

namespace elastic::impl {
namespace {

constexpr std::size_t max_name = 64, max_quote = 60;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

char fold(char c) {
  if (c == '-') return '_';
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// Length of the UTF-8 character at the start of `text`;
/// 0 if it is malformed or a control character.
std::size_t character_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return lead == '\t' || (lead >= 0x20 && lead < 0x7f) ? 1 : 0;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const std::size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (text.size() < length) return 0;
  // The range of the second byte excludes C1 controls, over-long forms, surrogates
  // and code points beyond U+10FFFF.
  const unsigned low = lead == 0xc2 || lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (byte(1) < low || byte(1) > high) return 0;
  for (std::size_t i = 2; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  return length;
}

}  // namespace

std::string_view trim(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

std::vector<std::string_view> split_items(std::string_view text) {
  const std::string marks = without_quoted(text, QuotesIn::value).marks;
  std::vector<std::string_view> pieces;
  if (trim(text).empty()) return pieces;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(marks.find(',', begin), text.size());
    pieces.push_back(trim(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return pieces;
}

Unquoted without_quoted(std::string_view text, QuotesIn where) {
  Unquoted result{.marks = std::string(text)};
  bool in_value = where == QuotesIn::value, may_open = in_value;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '#' && where == QuotesIn::line) break;
    if (c == '"' && may_open) {
      const std::size_t begin = i;
      for (++i; i < text.size() && text[i] != '"'; ++i) i += text[i] == '\\';
      if (i >= text.size()) {
        result.unclosed = begin;
        return result;
      }
      std::fill(result.marks.begin() + static_cast<std::ptrdiff_t>(begin),
                result.marks.begin() + static_cast<std::ptrdiff_t>(i) + 1, ' ');
    }
    const bool begins_value = c == '=' && !in_value;
    in_value = in_value || begins_value;
    if (c != ' ' && c != '\t') may_open = in_value && (begins_value || c == ',');
  }
  return result;
}

std::string unquote(std::string_view value, std::string& plain) {
  if (value.empty() || value.front() != '"') {
    plain = value;
    return {};
  }
  std::string inside;
  for (std::size_t i = 1; i < value.size(); ++i) {
    if (value[i] == '"') {
      if (i + 1 != value.size())
        return fmt::format("after the closing quote stands '{}'",
                           shorten(trim(value.substr(i + 1))));
      plain = std::move(inside);
      return {};
    }
    if (value[i] != '\\') {
      inside += value[i];
      continue;
    }
    constexpr std::string_view written = "\"\\nt", meant = "\"\\\n\t";
    const auto which = ++i < value.size() ? written.find(value[i]) : written.npos;
    if (which == written.npos)
      return R"(in quotes, \ stands before ", \, n (new line) or t (tab) only)";
    inside += meant[which];
  }
  return "the opening quote is not closed";
}

std::string quote_if_needed(const std::string& text, bool in_list) {
  const bool plain = trim(text) == text && text.find_first_of("\"#\n") == text.npos &&
                     (text.empty() || text.back() != '&') &&
                     (!in_list || (!text.empty() && text.find(',') == text.npos));
  if (plain) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c == '\n' ? "\\n" : c == '\t' ? "\\t" : std::string(1, c);
  }
  return quoted + '"';
}

std::string join(const std::vector<std::string>& items) {
  return fmt::format("{}", fmt::join(items, ", "));
}

std::string find_bad_byte(std::string_view line) {
  for (std::size_t i = 0; i < line.size();) {
    const std::size_t length = character_length(line.substr(i));
    if (length == 0)
      return fmt::format(
          "byte 0x{:02x} in column {} is not text (UTF-8 without control characters)",
          static_cast<unsigned char>(line[i]), i + 1);
    i += length;
  }
  return {};
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= max_name && is_letter(text[0]) &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return is_letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
         });
}

std::string shorten(std::string_view text) {
  if (text.size() <= max_quote) return std::string(text);
  std::size_t end = max_quote - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    before.swap(above);
    above.swap(row);
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const char x = fold(a[i - 1]), y = fold(b[j - 1]);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y)});
      if (i > 1 && j > 1 && x == fold(b[j - 2]) && y == fold(a[i - 2]))
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row[b.size()];
}

std::optional<Nearest> nearest(std::string_view name, const std::vector<std::string>& choices) {
  std::optional<Nearest> best;
  if (name.size() > max_name) return best;
  for (const std::string& choice : choices) {
    const std::size_t limit = std::max<std::size_t>(1, std::max(name.size(), choice.size()) / 3);
    std::size_t distance = edit_distance(name, choice);
    if (name.size() >= 3 && choice.substr(0, name.size()) == name)
      distance = std::min(distance, limit);
    if (distance <= limit && (!best || distance < best->distance)) best = Nearest{choice, distance};
  }
  return best;
}

}  // namespace elastic::impl
