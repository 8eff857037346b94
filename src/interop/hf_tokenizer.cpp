// SPDX-License-Identifier: Apache-2.0
#include "interop/hf_tokenizer.hpp"

#include "io/durable_file.hpp"

namespace elastic {
namespace {

constexpr int num_bytes = 256;

/// Names of special tokens hold capital letters, so that no text of the vocabulary spells one.
struct SpecialToken {
  token_t HfVocabulary::*id;
  const char *key, *name;
};
constexpr SpecialToken special_tokens[] = {{&HfVocabulary::pad, "pad_token", "<PAD>"},
                                           {&HfVocabulary::begin, "bos_token", "<BEGIN>"},
                                           {&HfVocabulary::end, "eos_token", "<END>"}};

/// UTF-8 of a code point below 0x800.
std::string utf8(int code) {
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
}

/// The visible characters that the ByteLevel pre-tokenizer writes for the 256 bytes: printable ones
/// of Latin-1 stand for themselves, the others take the code points from 256 on in their order.
std::vector<std::string> byte_level_characters() {
  std::vector<std::string> result;
  int next = num_bytes;
  for (int byte = 0; byte < num_bytes; ++byte) {
    const bool visible = (33 <= byte && byte <= 126) || (161 <= byte && byte <= 172) || 174 <= byte;
    result.push_back(utf8(visible ? byte : next++));
  }
  return result;
}

OrderedJson byte_level() {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", false},
          {"use_regex", false}};
}

/// Byte-pair encoding without a pair leaves bytes alone.
void put_bytes(OrderedJson& json) {
  json["pre_tokenizer"] = byte_level();
  json["post_processor"] = nullptr;
  json["decoder"] = byte_level();
  OrderedJson words = OrderedJson::object();
  int id = 0;
  for (const auto& character : byte_level_characters()) words[character] = id++;
  json["model"] = {{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", nullptr},
                   {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr},
                   {"fuse_unk", false},
                   {"byte_fallback", false},
                   {"ignore_merges", false},
                   {"vocab", words},
                   {"merges", OrderedJson::array()}};
}

/// Every character is a word. The unknown word has no token, which makes it an error.
void put_characters(const HfVocabulary& vocabulary, OrderedJson& json) {
  OrderedJson words = OrderedJson::object();
  for (const auto& special : special_tokens) {
    const token_t id = vocabulary.*special.id;
    if (id < 0) continue;
    words[special.name] = id;
    json["added_tokens"].push_back({{"id", id},
                                    {"content", special.name},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", false},
                                    {"special", true}});
  }
  token_t next = vocabulary.first_id;
  for (const char c : vocabulary.characters) words[std::string(1, c)] = next++;
  json["pre_tokenizer"] = {{"type", "Split"},
                           {"pattern", {{"Regex", "[\\s\\S]"}}},
                           {"behavior", "Isolated"},
                           {"invert", false}};
  json["post_processor"] = nullptr;
  if (vocabulary.begin >= 0) {
    const auto begin = special_tokens[1].name;
    const OrderedJson first = {{"SpecialToken", {{"id", begin}, {"type_id", 0}}}},
                      text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
                      second = {{"Sequence", {{"id", "B"}, {"type_id", 0}}}};
    json["post_processor"] = {{"type", "TemplateProcessing"},
                              {"single", OrderedJson::array({first, text})},
                              {"pair", OrderedJson::array({first, text, second})},
                              {"special_tokens",
                               {{begin,
                                 {{"id", begin},
                                  {"ids", OrderedJson::array({vocabulary.begin})},
                                  {"tokens", OrderedJson::array({begin})}}}}}};
  }
  json["decoder"] = {{"type", "Fuse"}};
  json["model"] = {{"type", "WordLevel"}, {"vocab", words}, {"unk_token", "<UNKNOWN>"}};
}

}  // namespace

index_t HfVocabulary::size() const {
  return characters.empty() ? num_bytes : first_id + static_cast<index_t>(characters.size());
}

OrderedJson tokenizer_json(const HfVocabulary& vocabulary) {
  OrderedJson json = {{"version", "1.0"},
                      {"truncation", nullptr},
                      {"padding", nullptr},
                      {"added_tokens", OrderedJson::array()},
                      {"normalizer", nullptr}};
  if (vocabulary.characters.empty())
    put_bytes(json);
  else
    put_characters(vocabulary, json);
  return json;
}

void put_special_ids(const HfVocabulary& vocabulary, OrderedJson& config) {
  for (const auto& special : special_tokens) {
    const token_t id = vocabulary.*special.id;
    config[std::string(special.key) + "_id"] = id < 0 ? OrderedJson(nullptr) : OrderedJson(id);
  }
}

void write_hf_tokenizer(const HfVocabulary& vocabulary, const std::filesystem::path& folder) {
  OrderedJson settings = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                          {"clean_up_tokenization_spaces", false}};
  OrderedJson generation = {{"do_sample", false}};
  for (const auto& special : special_tokens)
    if (vocabulary.*special.id >= 0) settings[special.key] = special.name;
  put_special_ids(vocabulary, generation);
  write_file_durably(folder / "tokenizer.json", dump_json(tokenizer_json(vocabulary)));
  write_file_durably(folder / "tokenizer_config.json", dump_json(settings));
  write_file_durably(folder / "generation_config.json", dump_json(generation));
}

}  // namespace elastic
