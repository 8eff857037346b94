// SPDX-License-Identifier: Apache-2.0
#include "verbs/token_text.hpp"

#include <fmt/ranges.h>

#include <charconv>
#include <sstream>

#include "data/character_vocabulary.hpp"
#include "io/durable_file.hpp"
#include "verbs/verb_files.hpp"

namespace elastic {
namespace {

constexpr std::uintmax_t most_token_bytes = std::uintmax_t(64) << 20;

token_t parse_id(const std::string& word, const std::string& place, index_t vocab_size) {
  index_t id = 0;
  const char* end = word.data() + word.size();
  const auto [stop, error] = std::from_chars(word.data(), end, id);
  if (error != std::errc() || stop != end)
    throw InputError(fmt::format(
        "{}: '{}' is no token id; expected whole numbers in [0, {}) separated by blanks", place,
        word.substr(0, 40), vocab_size));
  if (id < 0 || id >= vocab_size)
    throw InputError(
        fmt::format("{}: token {} is outside the vocabulary [0, {})", place, id, vocab_size));
  return static_cast<token_t>(id);
}

[[noreturn]] void no_text() {
  throw InputError(
      "the checkpoint was trained on indexed data, whose tokens have no text here; use --tokens");
}

}  // namespace

std::vector<std::vector<token_t>> read_token_lines(const std::filesystem::path& path,
                                                   index_t vocab_size) {
  require_input_file({path, "the file of token ids"}, most_token_bytes);
  std::istringstream text(read_file(path));
  std::vector<std::vector<token_t>> lines;
  std::string line;
  for (index_t number = 1; std::getline(text, line); ++number) {
    std::istringstream words(line);
    std::vector<token_t> tokens;
    for (std::string word; words >> word;)
      tokens.push_back(
          parse_id(word, fmt::format("{}, line {}", path.string(), number), vocab_size));
    if (!tokens.empty()) lines.push_back(std::move(tokens));
  }
  if (lines.empty()) throw InputError(fmt::format("{}: holds no token ids", path.string()));
  return lines;
}

std::vector<token_t> encode_prompt(SourceKind source, const std::string& text) {
  switch (source) {
    case SourceKind::reasoning: {
      auto tokens = CharacterVocabulary::encode(text);
      tokens.insert(tokens.begin(), CharacterVocabulary::begin);
      return tokens;
    }
    case SourceKind::text: {
      std::vector<token_t> tokens;
      for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
      return tokens;
    }
    case SourceKind::indexed:
      no_text();
  }
  throw_contract("a source of no kind");
}

std::string decode_text(SourceKind source, const std::vector<token_t>& tokens) {
  switch (source) {
    case SourceKind::reasoning:
      return CharacterVocabulary::decode(tokens);
    case SourceKind::text: {
      std::string text;
      for (const token_t token : tokens) {
        if (token < 0 || token > 255)
          throw InputError(fmt::format("token {} is no byte; use --tokens", token));
        text += static_cast<char>(token);
      }
      return text;
    }
    case SourceKind::indexed:
      no_text();
  }
  throw_contract("a source of no kind");
}

std::string decode_ids(const std::vector<token_t>& tokens) {
  return fmt::format("{}", fmt::join(tokens, " "));
}

std::optional<HfVocabulary> vocabulary_of(SourceKind source) {
  if (source == SourceKind::indexed) return std::nullopt;
  if (source == SourceKind::text) return HfVocabulary{};
  const auto characters = CharacterVocabulary::characters();
  const auto first = CharacterVocabulary::encode(characters.substr(0, 1)).front();
  return HfVocabulary{.characters = std::string(characters),
                      .first_id = first,
                      .pad = CharacterVocabulary::pad,
                      .begin = CharacterVocabulary::begin,
                      .end = CharacterVocabulary::end};
}

token_t end_token(SourceKind source) {
  return source == SourceKind::reasoning ? CharacterVocabulary::end : -1;
}

}  // namespace elastic
