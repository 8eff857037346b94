// SPDX-License-Identifier: Apache-2.0
// Tokens in and out for people: files of ids, and texts in the vocabulary of a deck's data.
//
//   reasoning   one token per character (data/character_vocabulary.hpp), begin and end tokens
//   text        bytes, no end token
//   indexed     ids only
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "config/run_config.hpp"
#include "interop/hf_tokenizer.hpp"

namespace elastic {

/// The ids of each line that holds some, separated by blanks. Throws InputError naming file, line
/// and word if a word is no id in [0, vocab_size), if there are no ids at all, or if it is no
/// regular file of at most 64 MiB.
std::vector<std::vector<token_t>> read_token_lines(const std::filesystem::path& path,
                                                   index_t vocab_size);

/// Tokens of a prompt. Throws InputError if the vocabulary lacks a character or is unknown.
std::vector<token_t> encode_prompt(SourceKind source, const std::string& text);
/// The text of generated tokens. Throws InputError for ids that are none of the vocabulary's.
std::string decode_text(SourceKind source, const std::vector<token_t>& tokens);
/// What the ids mean, for tokenizer files of an export; nothing for ids without a text.
std::optional<HfVocabulary> vocabulary_of(SourceKind source);
/// Ids separated by blanks.
std::string decode_ids(const std::vector<token_t>& tokens);
/// The token that ends a text; -1 if there is none.
token_t end_token(SourceKind source);

}  // namespace elastic
