// SPDX-License-Identifier: Apache-2.0
// Binding of keys, see schema.hpp.
#include "deck/schema.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "deck/text.hpp"

namespace elastic {
namespace {

template <class T>
constexpr std::string_view noun() {
  if constexpr (std::same_as<T, bool>)
    return "true or false";
  else if constexpr (std::same_as<T, index_t>)
    return "an integer";
  else if constexpr (std::same_as<T, double>)
    return "a number";
  else if constexpr (std::same_as<T, std::string>)
    return "text";
  else if constexpr (std::same_as<T, std::vector<index_t>>)
    return "a list of integers";
  else if constexpr (std::same_as<T, std::vector<double>>)
    return "a list of numbers";
  else
    return "a list of words";
}

template <class T>
std::string describe(const KeyOptions& options) {
  const char* each = DeckList<T> ? ", each " : " ";
  if (!options.allowed.empty())
    return DeckList<T> ? fmt::format("a list, each one of {}", impl::join(options.allowed))
                       : fmt::format("one of {}", impl::join(options.allowed));
  return fmt::format("{}{}{}", noun<T>(), options.range.is_bounded() ? each : "",
                     options.range.text());
}

/// Reads one value and checks it against range and allowed values.
template <class T>
bool read_item(std::string_view text, T& value, const KeyOptions& options, std::string& detail) {
  T item;
  if constexpr (std::same_as<T, std::string>) {
    detail = impl::unquote(text, item);
    if (!detail.empty()) return false;
  } else if (!impl::read_scalar(text, item)) {
    return false;
  }
  if constexpr (std::same_as<T, double>)
    if (const double size = std::abs(item);
        size != 0 && (size < smallest_number || size > largest_number)) {
      detail =
          fmt::format("numbers other than 0 are of size {} to {}", smallest_number, largest_number);
      return false;
    }
  if constexpr (std::same_as<T, index_t> || std::same_as<T, double>)
    if (!options.range.contains(static_cast<double>(item))) return false;
  const auto& allowed = options.allowed;
  if (!allowed.empty() &&
      std::find(allowed.begin(), allowed.end(), impl::write_scalar(item)) == allowed.end())
    return false;
  value = std::move(item);
  return true;
}

template <class T>
bool read_list(std::string_view text, std::vector<T>& value, const KeyOptions& options,
               std::string& detail) {
  std::vector<T> items;
  for (const std::string_view piece : impl::split_items(text)) {
    T item{};
    std::string why;
    const bool empty = piece.empty() || piece == "\"\"";
    if (empty || !read_item(piece, item, options, why)) {
      detail = empty ? fmt::format("item {} is empty", items.size() + 1)
                     : fmt::format("item {} is '{}'{}{}", items.size() + 1, impl::shorten(piece),
                                   why.empty() ? "" : ": ", why);
      return false;
    }
    items.push_back(std::move(item));
  }
  value = std::move(items);
  return true;
}

template <class T>
std::string write(const T& value) {
  if constexpr (DeckScalar<T>) {
    return impl::write_scalar(value);
  } else {
    std::vector<std::string> items;
    for (const auto& item : value)
      if constexpr (std::same_as<T, std::vector<std::string>>)
        items.push_back(impl::quote_if_needed(item, true));
      else
        items.push_back(impl::write_scalar(item));
    return impl::join(items);
  }
}

/// A value can be written into a deck and read back unchanged.
bool is_writable(const std::string& text) {
  const std::string marks = impl::without_quoted(text, impl::QuotesIn::value).marks;
  return impl::find_bad_byte(text).empty() && impl::trim(text) == text &&
         marks.find('#') == text.npos && (text.empty() || text.back() != '&');
}

}  // namespace

template <DeckValue T>
SchemaBlock& SchemaBlock::bind(std::string name, T* member, KeyOptions options) {
  SchemaKey key{.name = std::move(name), .options = options, .expected = describe<T>(options)};
  key.read = [member, options](std::string_view text, std::string& detail) {
    if constexpr (DeckList<T>)
      return read_list(text, *member, options, detail);
    else
      return read_item(text, *member, options, detail);
  };
  key.write = [member] { return write(*member); };
  return add(std::move(key));
}
template SchemaBlock& SchemaBlock::bind(std::string, bool*, KeyOptions);
template SchemaBlock& SchemaBlock::bind(std::string, index_t*, KeyOptions);
template SchemaBlock& SchemaBlock::bind(std::string, double*, KeyOptions);
template SchemaBlock& SchemaBlock::bind(std::string, std::string*, KeyOptions);
template SchemaBlock& SchemaBlock::bind(std::string, std::vector<index_t>*, KeyOptions);
template SchemaBlock& SchemaBlock::bind(std::string, std::vector<double>*, KeyOptions);
template SchemaBlock& SchemaBlock::bind(std::string, std::vector<std::string>*, KeyOptions);

SchemaBlock& SchemaBlock::bind_pattern(std::string name, std::string* member,
                                       std::string characters, KeyOptions options) {
  SchemaKey key{.name = std::move(name), .options = std::move(options)};
  key.expected = fmt::format("a pattern of the characters {}", fmt::join(characters, " "));
  key.read = [member, characters](std::string_view text, std::string& detail) {
    std::string pattern;
    for (const char c : text)
      if (c != ' ' && c != '\t') pattern.push_back(c);
    if (const auto bad = pattern.find_first_not_of(characters); bad != pattern.npos) {
      detail = fmt::format("character {} is another", bad + 1);
      return false;
    }
    *member = std::move(pattern);
    return true;
  };
  key.write = [member] { return *member; };
  return add(std::move(key));
}

SchemaBlock& SchemaBlock::add(SchemaKey key) {
  ELASTIC_REQUIRE(impl::is_name(key.name) && find(key.name) == nullptr, "bind <{}>/{} once", m_name,
                  key.name);
  if (key.expected.empty())
    key.expected = fmt::format("one of {}", impl::join(key.options.allowed));
  key.default_text = key.write();
  std::string detail;
  const bool survives = key.options.required ||
                        (is_writable(key.default_text) && key.read(key.default_text, detail) &&
                         key.write() == key.default_text);
  ELASTIC_REQUIRE(survives, "default '{}' of <{}>/{} must be {}", key.default_text, m_name,
                  key.name, key.expected);
  m_keys.push_back(std::move(key));
  return *this;
}

SchemaBlock& SchemaBlock::replaced(std::string former, std::string by) {
  ELASTIC_REQUIRE(find(former) == nullptr, "<{}>/{} is bound", m_name, former);
  m_replaced.emplace(std::move(former), std::move(by));
  return *this;
}

const std::string* SchemaBlock::replacement(std::string_view former) const {
  const auto found = m_replaced.find(former);
  return found == m_replaced.end() ? nullptr : &found->second;
}

std::vector<std::string> SchemaBlock::key_names() const {
  std::vector<std::string> names;
  for (const SchemaKey& key : m_keys) names.push_back(key.name);
  return names;
}

const SchemaKey* SchemaBlock::find(std::string_view key) const {
  const auto found =
      std::find_if(m_keys.begin(), m_keys.end(), [&](const SchemaKey& k) { return k.name == key; });
  return found == m_keys.end() ? nullptr : &*found;
}

SchemaBlock& Schema::add(std::string name, std::string help, bool optional) {
  ELASTIC_REQUIRE(impl::is_name(name) && find(name) == nullptr, "bind block <{}> once", name);
  return m_blocks.emplace_back(std::move(name), std::move(help), optional);
}

std::vector<std::string> Schema::block_names() const {
  std::vector<std::string> names;
  for (const SchemaBlock& block : m_blocks) names.push_back(block.name());
  return names;
}

const SchemaBlock* Schema::find(std::string_view block) const {
  const auto found = std::find_if(m_blocks.begin(), m_blocks.end(),
                                  [&](const SchemaBlock& b) { return b.name() == block; });
  return found == m_blocks.end() ? nullptr : &*found;
}

}  // namespace elastic
