// SPDX-License-Identifier: Apache-2.0
// A small run for the tests of files: its deck, and a state with random numbers
// in everything that training changes.
#pragma once
#include <functional>

#include "state/state_checkpoint.hpp"
#include "unit_tests/io/io_support.hpp"
#include "unit_tests/layers/parameters_for_tests.hpp"

namespace elastic::test {

inline const std::string small_deck_text = R"(<job>
name = small
<model>
hybrid_layer_pattern = M-*M-
hidden_size = 24
<mamba>
num_heads = 4
head_dim = 8
num_groups = 2
state_dim = 8
chunk_size = 8
<attention>
num_heads = 4
num_query_groups = 2
kv_channels = 8
<mlp>
ffn_hidden_size = 48
<data>
max_digits = 1
<pretrain>
steps = 4
seq_length = 48
global_batch_size = 4
<elastic>
budgets = 1.0, 0.7, 0.5
budget_names = large, middle, small
hidden_size = 24, 20, 16, 12
mamba_num_heads = 4, 2
mamba_head_dim = 8, 6
num_attention_heads = 4, 2
ffn_hidden_size = 48, 36, 24, 12
drop_layers = 0, 1, 2
per_layer = ffn_hidden_size
<router>
hidden_size = 8
<stage1>
steps = 4
seq_length = 64
global_batch_size = 4
<parallel>
micro_batch_size = 2
<evaluate>
samples = 4
problems = 8
)";

inline ResolvedDeck small_deck(const std::vector<std::string>& overrides = {}) {
  return read_run_config(small_deck_text, "small.in", overrides);
}

inline void randomize(const View1<float>& view, std::uint32_t seed) {
  assign(view, random_values<float>(static_cast<index_t>(view.extent(0)), seed, -1, 1));
}

/// By random scores, with the deck's 6 best Mamba channels; the small deck's layers in an order of
/// their own.
inline Ranking random_ranking(const ModelShape& shape) {
  Draw draw(7);
  ImportanceScores scores;
  for (index_t i = 0; i < shape.hidden_size; ++i) scores.hidden.push_back(draw.uniform());
  for (const auto& layer : shape.layers) {
    auto& units = scores.squares.emplace_back();
    for (index_t i = 0; i < layer.inner(); ++i) units.push_back(draw.uniform());
  }
  Ranking ranking = rank_parent(shape, scores, 6);
  if (shape.num_layers() == 5) ranking.drop_order = {1, 3, 4, 0, 2};
  return ranking;
}

/// Random numbers that are squares, as second moments are.
template <class V>
void randomize_squares(const V& view, std::uint32_t seed) {
  randomize(view, seed);
  auto values = to_host(view);
  for (auto& x : values) x *= x;
  assign(view, values);
}

/// The state of a run: values as initialised, moments random; `elastic`: ranked by random scores,
/// with a router that has opinions.
template <class T = Real>
TrainState<T> small_state(const RunConfig& config, bool elastic = true) {
  TrainState<T> state = make_parent<T>(config);
  state.step = 17;
  if (elastic) {
    begin_elastic(config, random_ranking(state.model->shape()), state);
    randomize(state.elastic->router->parameters().values(), 61);
    randomize(state.elastic->router_optimizer->first_moments(), 62);
    randomize_squares(state.elastic->router_optimizer->second_moments(), 63);
  }
  if (state.optimizer) {
    randomize(state.optimizer->first_moments(), 64);
    randomize_squares(state.optimizer->second_moments(), 65);
  }
  return state;
}

/// Bytes of the arena that a step touched: those that no longer hold the mark of before.
inline std::size_t high_water(Arena& arena, const std::function<void()>& work) {
  constexpr index_t size = index_t{48} << 20;  // fits the arena's first block
  constexpr unsigned char mark = 0xA5;
  unsigned char* begin;
  {
    const Arena::Scope scope(arena);
    const auto all = arena.vector<unsigned char>(size);
    Kokkos::deep_copy(all, mark);
    begin = all.data();
  }
  work();
  const View1<unsigned char> all(begin, size);
  const auto h_all = Kokkos::create_mirror_view_and_copy(HostSpace(), all);
  index_t used = size;
  while (used > 0 && h_all(used - 1) == mark) --used;
  EXPECT_LT(used, size) << "the step left the first block";
  return static_cast<std::size_t>(used);
}

/// As the slice phase writes model.h5: parent, ranking, router and the first `num_specs` budgets.
inline void write_elastic_model(const std::filesystem::path& path, const ResolvedDeck& deck,
                                const TrainState<Real>& state, std::size_t num_specs) {
  CheckpointWriter writer(path);
  write_model(writer, *state.model, deck.text, "elastic");
  write_ranking(writer, state.elastic->ranking);
  write_router(writer, *state.elastic->router);
  for (std::size_t i = 0; i < num_specs; ++i) {
    SubmodelSpec spec = submodel_for(deck.config, state, deck.config.elastic.budgets[i]);
    spec.name = deck.config.elastic.budget_name(i);
    write_spec(writer, spec);
  }
  writer.commit();
}

}  // namespace elastic::test
