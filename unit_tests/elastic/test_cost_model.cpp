// SPDX-License-Identifier: Apache-2.0
// Published parameter counts, hand-made counts, and gradients against finite differences.
#include "elastic/cost_model.hpp"

#include <gtest/gtest.h>

#include "elastic/measured/measured_times.hpp"
#include "unit_tests/elastic/shapes_for_tests.hpp"

namespace elastic::test {
namespace {

/// Times made up for each layer of a shape, as different from each other as from parameters.
std::shared_ptr<const MeasuredTimes> made_up_times(const ModelShape& shape) {
  auto times = std::make_shared<MeasuredTimes>();
  times->ends.factors = {3, 0.7};
  for (const auto& layer : shape.layers) {
    const double scale = 1 + static_cast<double>(times->layers.size());
    times->layers.push_back({layer, {{4, 0.1 * scale, 0.2, 0.03, 0.05, 0.01 * scale}}});
  }
  return times;
}

double parameters(const ModelShape& shape) {
  return parameter_count(shape, expected_widths(full_spec(shape)));
}

TEST(CostModel, PublishedParameterCounts) {
  EXPECT_EQ(parameters(nemotron_12b()), 12310001152.0);
  EXPECT_EQ(parameters(nemotron_9b()), 8888227328.0);
  EXPECT_EQ(parameters(nemotron_4b()), 3973556832.0);
}

/// Sum over the tensors of the model, as files hold them (src/interop/README.md).
double counted(const ModelShape& s) {
  const index_t d = s.hidden_size, n = s.mamba_state_dim, w = s.mamba_d_conv;
  index_t sum = 2 * s.vocab_size * d + d;
  for (const auto& l : s.layers) {
    const index_t e = l.inner(), g = l.num_groups, h = l.width;
    const index_t conv = e + 2 * g * n;
    sum += d;  // norm
    if (l.kind == LayerKind::mamba)
      sum += (2 * e + 2 * g * n + h) * d + conv * w + conv + 3 * h + e + d * e;
    if (l.kind == LayerKind::attention) sum += e * d + 2 * g * l.head_channels * d + d * e;
    if (l.kind == LayerKind::mlp) sum += 2 * e * d;
  }
  return static_cast<double>(sum);
}

TEST(CostModel, SubmodelsCountAsTheirSlices) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    auto [draw, shape, space, decisions] = RandomCase(seed);
    const auto spec = spec_of_choices(shape, space, decisions, random_choices(draw, decisions));
    const auto sliced = sliced_shape(shape, spec);
    const CostConfig memory{BudgetKind::memory, 2, 100, 2, 4, 3};
    EXPECT_EQ(parameter_count(shape, expected_widths(spec)), counted(sliced));
    EXPECT_EQ(cost(shape, expected_widths(spec), memory),
              cost(sliced, expected_widths(full_spec(sliced)), memory));
    EXPECT_EQ(forward_flops_per_token(shape, spec, 33),
              forward_flops_per_token(sliced, full_spec(sliced), 33));
  }
}

TEST(CostModel, CachesOfThe12B) {
  const auto shape = nemotron_12b();
  const auto widths = expected_widths(full_spec(shape));
  const CostConfig config{BudgetKind::memory, 3, 131072, 2, 2, 4};
  EXPECT_EQ(kv_cache_bytes(shape, widths, config), 2.0 * 3 * 6 * 2 * 131072 * 8 * 128);
  EXPECT_EQ(ssm_cache_bytes(shape, widths, config), 4.0 * 3 * 28 * (128 * 80 * 128 + 12288 * 3));
  EXPECT_EQ(cost(shape, widths, config), 2 * 12310001152.0 + kv_cache_bytes(shape, widths, config) +
                                             ssm_cache_bytes(shape, widths, config));
}

TEST(CostModel, EveryPartOfTheMemoryHasItsBytes) {
  const auto shape = small_shape();
  const auto widths = expected_widths(full_spec(shape));
  const auto with = [&](double weight, double kv, double ssm) {
    return cost(shape, widths, {BudgetKind::memory, 3, 20, weight, kv, ssm});
  };
  const CostConfig ones{BudgetKind::memory, 3, 20, 1, 1, 1};
  EXPECT_EQ(with(2, 1, 1) - with(1, 1, 1), parameter_count(shape));
  EXPECT_EQ(with(1, 2, 1) - with(1, 1, 1), kv_cache_bytes(shape, widths, ones));
  EXPECT_EQ(with(1, 1, 2) - with(1, 1, 1), ssm_cache_bytes(shape, widths, ones));
}

TEST(CostModel, IsTheSumOfItsEndsAndLayers) {
  const auto shape = small_shape();
  for (const auto kind : all_budget_kinds) {
    const CostConfig config{kind, 2, 9, 2, 4, 8, made_up_times(shape)};
    auto spec = full_spec(shape);
    spec.hidden_size = 9;
    spec.layers[0] = {4, 3, true};
    spec.layers[4].keep = false;
    const auto widths = expected_widths(spec);
    double sum = ends_cost(shape, 9, config);
    for (index_t l = 0; l < 4; ++l) sum += layer_cost(shape, l, 9, widths.layers[l], config);
    EXPECT_EQ(cost(shape, spec, config), sum);
    EXPECT_EQ(relative_cost(shape, full_spec(shape), config), 1);
    if (kind == BudgetKind::seconds) continue;  // of layers that were measured, no others
    const auto sliced = sliced_shape(shape, spec);
    EXPECT_EQ(cost(sliced, full_spec(sliced), config), sum);
  }
}

TEST(CostModel, FlopsOfTheRouterAreThoseOfTheReport) {
  const auto shape = small_shape();
  EXPECT_EQ(cost(shape, full_spec(shape), {.kind = BudgetKind::flops, .seq_length = 33}),
            forward_flops_per_token(shape, full_spec(shape), 33));
  EXPECT_STREQ(budget_kind_name(BudgetKind::flops), "flops");
  EXPECT_STREQ(budget_kind_text(BudgetKind::memory), "bytes of inference memory");
  EXPECT_STREQ(budget_kind_name(BudgetKind::seconds), "seconds");
  EXPECT_THROW(cost(shape, full_spec(shape), {.kind = BudgetKind::seconds}), ContractError)
      << "nothing was measured";
}

TEST(CostModel, FlopsByHand) {
  // V 50, D 12, N 8, W 4, Q 16, L 5
  const auto count = [](const std::string& pattern) {
    const auto shape = small_shape(pattern);
    return forward_flops_per_token(shape, full_spec(shape), 5);
  };
  const double head = 2 * 50 * 12;
  EXPECT_EQ(count("-"), head + 4 * 12 * 10);
  EXPECT_EQ(count("*"), head + 2 * 12 * (2 * 12 + 2 * 2 * 3) + 2 * 12 * (5 + 1));
  const double e = 24, gn = 16;
  EXPECT_EQ(count("M"), head + 2 * 12 * (3 * e + 2 * gn + 6) + 8 * (e + 2 * gn) + 4 * e * 8 +
                            (5 + 1) * (gn + e));
}

TEST(CostModel, GradientsOfFractionalWidths) {
  const auto shape = small_shape();
  for (const auto kind : all_budget_kinds) {
    const CostConfig config{kind, 3, 7, 1.5, 2.5, 3.5, made_up_times(shape)};
    ExpectedWidths widths{7.3, {}};
    Draw draw(4);
    for (const auto& layer : shape.layers)
      widths.layers.push_back({0.7 * static_cast<double>(layer.width) + draw.uniform(),
                               0.9 * static_cast<double>(layer.head_channels) + draw.uniform(),
                               draw.uniform()});
    const auto gradient = cost_gradient(shape, widths, config);
    const auto check = [&](double& x, double expected, const std::string& what) {
      const double x0 = x, step = 1e-3;
      x = x0 + step;
      const double above = cost(shape, widths, config);
      x = x0 - step;
      const double below = cost(shape, widths, config);
      x = x0;
      EXPECT_NEAR((above - below) / (2 * step), expected, 1e-7 * (1 + std::abs(expected))) << what;
    };
    check(widths.hidden, gradient.hidden, "hidden");
    for (std::size_t l = 0; l < shape.layers.size(); ++l) {
      check(widths.layers[l].width, gradient.layers[l].width, fmt::format("width {}", l));
      check(widths.layers[l].head_channels, gradient.layers[l].head_channels,
            fmt::format("channels {}", l));
      check(widths.layers[l].keep, gradient.layers[l].keep, fmt::format("keep {}", l));
    }
  }
}

TEST(CostModel, LayersAddUp) {
  const auto shape = small_shape();
  const auto widths = expected_widths(full_spec(shape));
  auto none = widths;
  for (auto& layer : none.layers) layer.keep = 0;
  const double ends = parameter_count(shape, none);
  EXPECT_EQ(ends, (2 * 50 + 1) * 12) << "embeddings, output layer and final norm";
  double sum = ends;
  for (std::size_t l = 0; l < widths.layers.size(); ++l) {
    auto one = none;
    one.layers[l].keep = 1;
    sum += parameter_count(shape, one) - ends;
  }
  EXPECT_EQ(sum, parameters(shape));
}

TEST(CostModel, GradientByTheGateIsTheCostOfTheLayer) {
  const auto shape = small_shape();
  const CostConfig config{BudgetKind::memory, 2, 9, 2, 4, 8};
  auto widths = expected_widths(full_spec(shape));
  const auto gradient = cost_gradient(shape, widths, config);
  const double all = cost(shape, widths, config);
  for (std::size_t l = 0; l < widths.layers.size(); ++l) {
    widths.layers[l].keep = 0;
    EXPECT_EQ(all - cost(shape, widths, config), gradient.layers[l].keep);
    widths.layers[l].keep = 1;
  }
}

TEST(CostModel, GatedLayersCostTheirPart) {
  const auto shape = small_shape("M*");
  auto widths = expected_widths(full_spec(shape));
  const CostConfig config{BudgetKind::memory, 2, 9, 2, 4, 8};
  const double keys = kv_cache_bytes(shape, widths, config),
               states = ssm_cache_bytes(shape, widths, config);
  for (auto& layer : widths.layers) layer.keep = 0.25;
  EXPECT_EQ(kv_cache_bytes(shape, widths, config), keys / 4);
  EXPECT_EQ(ssm_cache_bytes(shape, widths, config), states / 4);
}

TEST(CostModel, CachesGrowWithSequencesAndPositions) {
  const auto shape = small_shape();
  const auto widths = expected_widths(full_spec(shape));
  const auto with = [](index_t batch, index_t length, double bytes) {
    return CostConfig{BudgetKind::memory, batch, length, 2, bytes, bytes};
  };
  const double keys = kv_cache_bytes(shape, widths, with(1, 10, 2)),
               states = ssm_cache_bytes(shape, widths, with(1, 10, 2));
  EXPECT_EQ(kv_cache_bytes(shape, widths, with(3, 10, 2)), 3 * keys);
  EXPECT_EQ(kv_cache_bytes(shape, widths, with(1, 70, 2)), 7 * keys);
  EXPECT_EQ(kv_cache_bytes(shape, widths, with(1, 10, 1)), keys / 2);
  EXPECT_EQ(ssm_cache_bytes(shape, widths, with(3, 10, 2)), 3 * states);
  EXPECT_EQ(ssm_cache_bytes(shape, widths, with(1, 70, 2)), states) << "a state has no positions";
  EXPECT_EQ(kv_cache_bytes(small_shape("M-"), expected_widths(full_spec(small_shape("M-"))),
                           with(1, 10, 2)),
            0);
}

TEST(CostModel, EveryWidthCosts) {
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    Draw draw(seed);
    const auto shape = random_shape(draw);
    const CostConfig config{all_budget_kinds[seed % 4], 2, 9, 2, 4, 8, made_up_times(shape)};
    const auto gradient = cost_gradient(shape, expected_widths(full_spec(shape)), config);
    EXPECT_GT(gradient.hidden, 0);
    for (const auto& layer : gradient.layers) {
      EXPECT_GT(layer.width, 0);
      EXPECT_GT(layer.keep, 0);
    }
  }
}

TEST(CostModel, FlopsPerTokenGrowWithTheTextInAttentionOnly) {
  const auto growth = [](const std::string& pattern, index_t from, index_t to) {
    const auto shape = small_shape(pattern);
    return forward_flops_per_token(shape, full_spec(shape), to) -
           forward_flops_per_token(shape, full_spec(shape), from);
  };
  EXPECT_EQ(growth("-", 1, 1000), 0);
  EXPECT_EQ(growth("*", 100, 300), 2 * 12 * 200);
  EXPECT_GT(growth("M", 1, 16), 0);
  EXPECT_EQ(growth("M", 16, 1000), 0) << "pairs inside a chunk of 16 only";
}

}  // namespace
}  // namespace elastic::test
