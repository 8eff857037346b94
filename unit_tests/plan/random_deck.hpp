// SPDX-License-Identifier: Apache-2.0
// Decks of random models, whose formulas are compared with what is counted.
#pragma once
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {

/// A deck of random shape, batch, chunks and recomputation; with `elastic`, also random lists on
/// every axis, and a teacher. Overrides of the small deck.
inline std::vector<std::string> random_deck(Draw& draw, bool elastic) {
  std::string pattern;
  for (index_t l = draw.between(1, 7); l > 0; --l) pattern += "M*-"[draw.between(0, 2)];
  const index_t hidden = 4 * draw.between(4, 12), groups = draw.between(1, 3),
                heads = groups * draw.between(2, 4), channels = 2 * draw.between(3, 6),
                queries = draw.between(1, 2), query_heads = queries * draw.between(2, 3),
                ffn = draw.between(20, 90);
  const auto widths = [&](index_t full, index_t narrow, char kind) {
    const bool listed = elastic && pattern.find(kind) != std::string::npos && draw.uniform() < 0.6;
    return listed ? fmt::format("{},{}", full, narrow) : std::string();
  };
  std::vector<std::string> deck = {
      "model/hybrid_layer_pattern=" + pattern,
      fmt::format("model/hidden_size={}", hidden),
      fmt::format("mamba/num_heads={}", heads),
      fmt::format("mamba/head_dim={}", channels),
      fmt::format("mamba/num_groups={}", groups),
      fmt::format("mamba/state_dim={}", draw.between(4, 16)),
      fmt::format("mamba/chunk_size={}", draw.between(8, 40)),
      fmt::format("attention/num_heads={}", query_heads),
      fmt::format("attention/num_query_groups={}", queries),
      fmt::format("mlp/ffn_hidden_size={}", ffn),
      fmt::format("data/vocab_size={}", draw.between(64, 300)),
      "elastic/hidden_size=" + widths(hidden, hidden / 2, pattern[0]),
      "elastic/mamba_num_heads=" + widths(heads, groups, 'M'),
      "elastic/mamba_head_dim=" + widths(channels, channels / 2, 'M'),
      "elastic/num_attention_heads=" + widths(query_heads, queries, '*'),
      "elastic/ffn_hidden_size=" + widths(ffn, ffn / 2, '-'),
      "elastic/drop_layers=" + std::string(elastic && pattern.size() > 1 ? "0,1" : "0"),
      "elastic/per_layer=",
      "elastic/choice_epsilon=0",
      fmt::format("parallel/recompute={}", draw.uniform() < 0.5),
      fmt::format("parallel/logit_chunk_tokens={}", draw.between(20, 300))};
  const index_t batch = draw.between(1, 4), length = draw.between(150, 200);
  deck.push_back(fmt::format("parallel/micro_batch_size={}", batch));
  for (const char* stage : {"pretrain", "stage1"}) {
    deck.push_back(fmt::format("{}/seq_length={}", stage, length));
    deck.push_back(fmt::format("{}/global_batch_size={}", stage, 2 * batch));
  }
  deck.push_back(elastic ? "job/phases=rank,elastic" : "job/phases=pretrain");
  if (elastic) deck.push_back("job/parent=p.h5");
  return deck;
}

}  // namespace elastic::test
