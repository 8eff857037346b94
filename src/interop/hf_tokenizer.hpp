// SPDX-License-Identifier: Apache-2.0
// Tokenizer files for models whose tokens are bytes or characters, in the format of the Hugging
// Face `tokenizers` library: tokenizer.json, tokenizer_config.json, generation_config.json.
//
//   bytes         id = byte; every text and every sequence of bytes has exactly one encoding
//   characters    one token per character and one each for padding, begin and end of a text; the
//                 begin is put before every text, and a character without a token is an error
#pragma once
#include <filesystem>
#include <string>

#include "base/types.hpp"
#include "interop/strict_json.hpp"

namespace elastic {

/// What the ids of a model mean.
struct HfVocabulary {
  std::string characters;  ///< of the ids from first_id on; empty: ids are bytes
  token_t first_id = 0;
  token_t pad = -1, begin = -1, end = -1;  ///< -1: there is no such token

  index_t size() const;  ///< ids in use
};

/// The content of tokenizer.json.
OrderedJson tokenizer_json(const HfVocabulary& vocabulary);
/// Puts bos_token_id, eos_token_id and pad_token_id into a config; null where there is no token.
void put_special_ids(const HfVocabulary& vocabulary, OrderedJson& config);
/// Writes the three files into a folder. Throws RunError.
void write_hf_tokenizer(const HfVocabulary& vocabulary, const std::filesystem::path& folder);

}  // namespace elastic
