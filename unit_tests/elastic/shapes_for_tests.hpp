// SPDX-License-Identifier: Apache-2.0
// Small parents and elastic spaces shared by the tests of this folder, fixed and random.
#pragma once
#include <algorithm>

#include "base/random.hpp"
#include "elastic/elastic_space.hpp"

namespace elastic::test {

/// Hidden size d; Mamba H x P in G groups, attention A x C on R groups, MLP F; layers by `pattern`.
inline ModelShape make_shape(const std::string& pattern, index_t d, LayerShape mamba,
                             LayerShape attention, LayerShape mlp) {
  ModelShape shape;
  shape.vocab_size = 50;
  shape.hidden_size = d;
  shape.mamba_state_dim = 8;
  shape.chunk_size = 16;
  for (const char kind : pattern)
    shape.layers.push_back(kind == 'M' ? mamba : kind == '*' ? attention : mlp);
  return shape;
}
inline ModelShape small_shape(const std::string& pattern = "M-*M-") {
  return make_shape(pattern, 12, {LayerKind::mamba, 6, 4, 2}, {LayerKind::attention, 4, 3, 2},
                    {LayerKind::mlp, 10});
}
/// Every axis elastic; `per_layer` makes those heterogeneous that can be.
inline ElasticSpace small_space(bool per_layer) {
  ElasticSpace space;
  space.hidden.widths = {12, 9, 5};
  space.mamba_heads = {{6, 4, 2}, per_layer};
  space.mamba_head_channels = {{4, 3, 1}, per_layer};
  space.attention_heads = {{4, 2}, per_layer};
  space.ffn = {{10, 7, 2}, per_layer};
  space.depth.widths = {0, 1, 3};
  space.drop_order = {3, 1, 2, 4};
  return space;
}

/// Random numbers of one test case.
class Draw {
 public:
  explicit Draw(std::uint64_t stream) : m_key{2024, RandomPurpose::test, stream} {}
  index_t between(index_t low, index_t high) {
    return low + static_cast<index_t>(
                     random_below(m_key, m_next++, static_cast<std::uint64_t>(high - low + 1)));
  }
  double uniform() { return random_uniform(m_key, m_next++); }

 private:
  RandomKey m_key;
  std::uint64_t m_next = 0;
};

inline ModelShape random_shape(Draw& draw) {
  const index_t g = draw.between(1, 4), r = draw.between(1, 3);
  std::string pattern;
  for (index_t i = draw.between(2, 7); i > 0; --i) pattern += "M*-"[draw.between(0, 2)];
  return make_shape(pattern, draw.between(2, 40),
                    {LayerKind::mamba, g * draw.between(1, 5), draw.between(1, 6), g},
                    {LayerKind::attention, r * draw.between(1, 5), draw.between(1, 6), r},
                    {LayerKind::mlp, draw.between(1, 40)});
}

/// Falling multiples of `step` from `full`.
inline std::vector<index_t> random_widths(Draw& draw, index_t full, index_t step) {
  std::vector<index_t> widths = {full};
  while (widths.back() > step && widths.size() < 4 && draw.uniform() < 0.8)
    widths.push_back(step * draw.between(1, widths.back() / step - 1));
  return widths;
}
inline ElasticSpace random_space(Draw& draw, const ModelShape& parent) {
  ElasticSpace space = rigid_space(parent);
  space.hidden.widths = random_widths(draw, parent.hidden_size, 1);
  for (const auto& layer : parent.layers) {
    const bool mamba = layer.kind == LayerKind::mamba;
    auto& axis = mamba                                ? space.mamba_heads
                 : layer.kind == LayerKind::attention ? space.attention_heads
                                                      : space.ffn;
    axis = {random_widths(draw, layer.width, layer.num_groups), draw.uniform() < 0.5};
    if (mamba)
      space.mamba_head_channels = {random_widths(draw, layer.head_channels, 1),
                                   draw.uniform() < 0.5};
  }
  for (index_t l = 0; l < parent.num_layers(); ++l) space.drop_order.push_back(l);
  for (index_t l = parent.num_layers() - 1; l > 0; --l)
    std::swap(space.drop_order[l], space.drop_order[draw.between(0, l)]);
  for (index_t r = 1; r < parent.num_layers(); ++r)
    if (draw.uniform() < 0.4) space.depth.widths.push_back(r);
  return space;
}
/// A random parent and a random space of its submodels; `draw` goes on from there.
///
///   auto [draw, shape, space, decisions] = RandomCase(seed);
struct RandomCase {
  explicit RandomCase(std::uint64_t seed) : draw(seed) {}
  Draw draw;
  ModelShape shape = random_shape(draw);
  ElasticSpace space = random_space(draw, shape);
  std::vector<Decision> decisions = list_decisions(shape, space);
};

inline std::vector<index_t> random_choices(Draw& draw, const std::vector<Decision>& decisions) {
  std::vector<index_t> choice;
  for (const auto& d : decisions)
    choice.push_back(draw.between(0, static_cast<index_t>(d.widths.size()) - 1));
  return choice;
}
/// Probabilities that sum to one, all above `least`.
inline std::vector<std::vector<double>> random_probabilities(Draw& draw,
                                                             const std::vector<Decision>& decisions,
                                                             double least = 0.05) {
  std::vector<std::vector<double>> pi;
  for (const auto& d : decisions) {
    std::vector<double> p;
    double sum = 0;
    for (std::size_t i = 0; i < d.widths.size(); ++i) sum += p.emplace_back(draw.uniform());
    const double free = 1 - least * static_cast<double>(p.size());
    for (double& x : p) x = least + free * x / sum;
    pi.push_back(p);
  }
  return pi;
}

/// The published models: Nemotron Nano 2 12B and 9B (arXiv 2508.14444), Nemotron 3 Nano 4B.
inline ModelShape nemotron(const std::string& pattern, index_t d, index_t f, index_t heads) {
  auto shape = make_shape(pattern, d, {LayerKind::mamba, heads, 80, 8},
                          {LayerKind::attention, 40, 128, 8}, {LayerKind::mlp, f});
  shape.vocab_size = 131072;
  shape.mamba_state_dim = 128;
  shape.chunk_size = 128;
  return shape;
}
inline ModelShape nemotron_12b() {
  return nemotron("M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M-", 5120, 20480,
                  128);
}
inline ModelShape nemotron_9b() {
  return nemotron("M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-", 4480, 15680, 128);
}
inline ModelShape nemotron_4b() {
  return nemotron("M-M-M-MM-M-M*-M-M*-M-M-M*-M-M-MM*-MMM-M-M-", 3136, 12544, 96);
}

}  // namespace elastic::test
