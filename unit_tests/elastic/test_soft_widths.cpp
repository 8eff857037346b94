// SPDX-License-Identifier: Apache-2.0
// Soft masks by their definition, their limits, and their gradient against finite
// differences of a synthetic loss.
#include <gmock/gmock.h>

#include "elastic/soft_widths.hpp"
#include "unit_tests/elastic/shapes_for_tests.hpp"
#include "unit_tests/support/gradient.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

const ExecutionSpace exec() { return {}; }

/// sum_k c_k sin(x_k) + x_k^2 over everything a model would read, and its derivatives written where
/// a model's backward would.
class SyntheticLoss {
 public:
  double value(const ActiveWidths<double>& active, bool with_gradients) {
    m_next = 0;
    m_sum = 0;
    m_with_gradients = with_gradients;
    vector(active.hidden_mask.value, active.hidden_mask.gradient);
    scalar(active.norm.params.scale, active.norm.dscale);
    for (const auto& layer : active.layers) {
      if (!layer.active) continue;
      vector(layer.inner.value, layer.inner.gradient);
      vector(layer.heads.value, layer.heads.gradient);
      scalar(layer.gated_norm.params.scale, layer.gated_norm.dscale);
      scalar(layer.gamma, layer.dgamma);
    }
    return m_sum;
  }

 private:
  double term(double x, double& derivative) {
    const double c = random_uniform({11, RandomPurpose::test}, m_next++) - 0.5;
    derivative = c * std::cos(x) + 2 * x;
    return c * std::sin(x) + x * x;
  }
  void vector(const View1<double>& value, const View1<double>& gradient) {
    const auto x = to_host(value);
    std::vector<double> d(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) m_sum += term(x[i], d[i]);
    if (m_with_gradients) assign(gradient, d);
  }
  void scalar(double x, const View1<double>& gradient) {
    double d;
    m_sum += term(x, d);
    if (!m_with_gradients || gradient.size() == 0) return;
    std::vector<double> parts(gradient.size(), 0.0);  // of the groups that share the scale
    parts.front() += 0.75 * d;
    parts.back() += 0.25 * d;
    assign(gradient, parts);
  }
  std::uint64_t m_next = 0;
  double m_sum = 0;
  bool m_with_gradients = false;
};

Probabilities one_hot(const std::vector<Decision>& decisions, const std::vector<index_t>& choice) {
  Probabilities pi;
  for (std::size_t d = 0; d < decisions.size(); ++d) {
    pi.emplace_back(decisions[d].widths.size(), 0.0);
    pi.back()[choice[d]] = 1;
  }
  return pi;
}

void expect_hard(const ActiveWidths<double>& a, const ActiveWidths<double>& b) {
  EXPECT_EQ(a.hidden, b.hidden);
  EXPECT_EQ(a.hidden_mask.value.size(), 0u);
  EXPECT_EQ(a.norm.params.mean_width, b.norm.params.mean_width);
  EXPECT_EQ(a.norm.params.epsilon, b.norm.params.epsilon);
  EXPECT_EQ(a.norm.params.scale, 1);
  for (std::size_t l = 0; l < a.layers.size(); ++l) {
    const auto &x = a.layers[l], &y = b.layers[l];
    EXPECT_EQ(x.active, y.active);
    EXPECT_EQ(x.gamma, y.gamma);
    EXPECT_EQ(x.inner.value.size() + x.heads.value.size() + x.dgamma.size(), 0u);
    if (!x.active) continue;
    EXPECT_EQ(x.width, y.width);
    EXPECT_EQ(x.head_channels, y.head_channels);
    EXPECT_EQ(x.gated_norm.params.mean_width, y.gated_norm.params.mean_width);
    EXPECT_EQ(x.gated_norm.params.scale, y.gated_norm.params.scale);
  }
}

TEST(SoftWidths, MasksByDefinition) {
  const auto shape = small_shape("M");
  ElasticSpace space = rigid_space(shape);
  space.hidden.widths = {12, 9, 5};
  space.mamba_heads.widths = {6, 2};
  space.mamba_head_channels.widths = {4, 2};
  SoftWidths<double> soft(shape, space);
  const auto& active = soft.set(exec(), {{0.5, 0.2, 0.3}, {0.25, 0.75}, {0.4, 0.6}});
  EXPECT_TRUE(near(active.hidden_mask.value,
                   std::vector<double>{1, 1, 1, 1, 1, 0.7, 0.7, 0.7, 0.7, 0.5, 0.5, 0.5}, 1e-15));
  const double rho = 0.5 + 0.2 * 9 / 12 + 0.3 * 5 / 12;
  EXPECT_DOUBLE_EQ(active.norm.params.epsilon, 1e-5 * rho);
  EXPECT_DOUBLE_EQ(active.norm.params.scale,
                   0.5 + 0.2 * std::sqrt(9. / 12) + 0.3 * std::sqrt(5. / 12));
  EXPECT_EQ(active.norm.params.mean_width, 12);
  const auto& layer = active.layers[0];
  EXPECT_TRUE(near(layer.heads.value, std::vector<double>{1, 1, 0.25, 0.25, 0.25, 0.25}, 1e-15));
  std::vector<double> inner;
  for (const double h : {1.0, 1.0, 0.25, 0.25, 0.25, 0.25})
    for (const double c : {1.0, 1.0, 0.4, 0.4}) inner.push_back(h * c);
  EXPECT_TRUE(near(layer.inner.value, inner, 1e-15));
  EXPECT_EQ(layer.gated_norm.params.mean_width, 12);
  EXPECT_DOUBLE_EQ(layer.gated_norm.params.epsilon, 1e-5 * (0.25 + 0.75 / 3) * (0.4 + 0.3));
  EXPECT_DOUBLE_EQ(layer.gated_norm.params.scale,
                   (0.25 + 0.75 * std::sqrt(1. / 3)) * (0.4 + 0.6 * std::sqrt(0.5)));
}

TEST(SoftWidths, SmallProbabilitiesAreDroppedAndExtentsShrink) {
  const auto shape = small_shape("-");
  ElasticSpace space = rigid_space(shape);
  space.hidden.widths = {12, 9, 5};
  space.ffn.widths = {10, 7, 2};
  SoftWidths<float> soft(shape, space, 1e-2);
  const auto& active = soft.set(exec(), {{0.005, 0.595, 0.4}, {0.004, 0.99, 0.006}});
  EXPECT_EQ(active.hidden, 9);
  const float narrow = 1, wide = static_cast<float>(0.595 / 0.995);
  EXPECT_TRUE(near(
      active.hidden_mask.value,
      std::vector<float>{narrow, narrow, narrow, narrow, narrow, wide, wide, wide, wide}, 1e-6));
  EXPECT_EQ(active.hidden_mask.gradient.size(), 9u);
  EXPECT_EQ(active.layers[0].width, 7) << "one choice left: hard";
  EXPECT_EQ(active.layers[0].inner.value.size(), 0u);
  const auto gradient = soft.gradient(exec());
  EXPECT_EQ(gradient[0][0], 0) << "dropped";
  EXPECT_THAT(gradient[1], testing::Each(0.0)) << "hard";
}

TEST(SoftWidths, TheMostLikelyChoiceIsNeverDropped) {
  ElasticSpace space = rigid_space(small_shape("-"));
  space.ffn.widths = {10, 7, 2};
  SoftWidths<double> soft(small_shape("-"), space, 0.5);
  EXPECT_EQ(soft.set(exec(), {{0.3, 0.4, 0.3}}).layers[0].width, 7);
}

TEST(SoftWidths, OneHotIsThePrefixOfTheSubmodel) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    Draw draw(seed);
    const auto shape = random_shape(draw);
    const auto space = random_space(draw, shape);
    SoftWidths<double> soft(shape, space);
    const auto choice = random_choices(draw, soft.decisions());
    soft.set(exec(), random_probabilities(draw, soft.decisions()));  // leaves no trace
    const auto& active = soft.set(exec(), one_hot(soft.decisions(), choice));
    const auto spec = spec_of_choices(shape, space, soft.decisions(), choice);
    expect_hard(active, prefix_widths<double>(shape, spec));
  }
}

TEST(SoftWidths, OneSoftAxisMakesTheSharedMaskSoft) {
  const auto shape = small_shape("M");
  ElasticSpace space = rigid_space(shape);
  space.mamba_heads.widths = {6, 4};
  space.mamba_head_channels.widths = {4, 2};
  SoftWidths<double> soft(shape, space);
  const auto& layer = soft.set(exec(), {{0, 1}, {0.5, 0.5}}).layers[0];
  EXPECT_EQ(layer.width, 4);
  EXPECT_EQ(layer.heads.value.size(), 0u) << "no soft choice of heads";
  std::vector<double> inner;
  for (int h = 0; h < 4; ++h) inner.insert(inner.end(), {1, 1, 0.5, 0.5});
  EXPECT_TRUE(near(layer.inner.value, inner, 1e-15));
  EXPECT_EQ(layer.gated_norm.params.mean_width, 12);
  EXPECT_DOUBLE_EQ(layer.gated_norm.params.epsilon, 1e-5 * (4. / 6) * 0.75);
}

TEST(SoftWidths, DepthGatesAreProbabilitiesOfBeingKept) {
  SoftWidths<double> soft(small_shape(), small_space(false), 0.05);
  auto pi = one_hot(soft.decisions(), {0, 0, 0, 0, 0, 0});
  pi[5] = {0.5, 0.2, 0.3};  // drop 0, 1 or 3 of the layers 3, 1, 2, 4
  const auto& soft_active = soft.set(exec(), pi);
  const std::vector<double> gates = {1, 0.7, 0.7, 0.5, 1};
  for (std::size_t l = 0; l < gates.size(); ++l) {
    EXPECT_DOUBLE_EQ(soft_active.layers[l].gamma, gates[l]);
    EXPECT_EQ(soft_active.layers[l].dgamma.size(), gates[l] < 1 ? 1u : 0u);
  }
  pi[5] = {0.04, 0.56, 0.4};
  const auto& dropped = soft.set(exec(), pi);
  EXPECT_FALSE(dropped.layers[3].active);
  EXPECT_EQ(dropped.layers[3].gamma, 0);
  EXPECT_TRUE(dropped.layers[1].active);
}

void check_gradient(const ModelShape& shape, const ElasticSpace& space, std::uint64_t seed,
                    double epsilon = 1e-3) {
  Draw draw(seed);
  SoftWidths<double> soft(shape, space, epsilon);
  auto pi = random_probabilities(draw, soft.decisions());
  SyntheticLoss loss;
  loss.value(soft.set(exec(), pi), true);
  const auto gradient = soft.through_draw(soft.gradient(exec()));
  ASSERT_EQ(gradient.size(), pi.size());
  for (std::size_t d = 0; d < pi.size(); ++d)
    for (std::size_t i = 0; i < pi[d].size(); ++i) {
      const double p = pi[d][i], step = 1e-5;
      pi[d][i] = p + step;
      const double above = loss.value(soft.set(exec(), pi), false);
      pi[d][i] = p - step;
      const double below = loss.value(soft.set(exec(), pi), false);
      pi[d][i] = p;
      EXPECT_NEAR((above - below) / (2 * step), gradient[d][i],
                  1e-7 * (1 + std::abs(gradient[d][i])))
          << axis_name(soft.decisions()[d].axis) << " choice " << i;
    }
}

TEST(SoftWidths, GradientAgainstFiniteDifferences) {
  check_gradient(small_shape(), small_space(false), 1);
  check_gradient(small_shape(), small_space(true), 2);
}

/// Probabilities start at 0.05, so that epsilon lies among them.
TEST(SoftWidths, GradientWithChoicesOnBothSidesOfEpsilon) {
  for (const double epsilon : {0.1, 0.2, 0.3})
    for (const bool per_layer : {false, true})
      check_gradient(small_shape(), small_space(per_layer), 3, epsilon);
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Draw draw(2000 + seed);
    const auto shape = random_shape(draw);
    check_gradient(shape, random_space(draw, shape), seed, 0.15);
  }
}

TEST(SoftWidths, GradientOfRandomSpaces) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Draw draw(1000 + seed);
    const auto shape = random_shape(draw);
    check_gradient(shape, random_space(draw, shape), seed);
  }
}

/// A straight-through draw of `choice` whose soft probabilities are `soft`.
RouterDraw hard_draw(const std::vector<Decision>& decisions, const std::vector<index_t>& choice,
                     Probabilities soft) {
  for (std::size_t d = 0; d < soft.size(); ++d)  // the largest is taken
    std::iter_swap(soft[d].begin() + choice[d], std::max_element(soft[d].begin(), soft[d].end()));
  return {one_hot(decisions, choice), std::move(soft)};
}

TEST(SoftWidths, StraightThroughDrawsHaveTheMasksOfTheSubmodel) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    Draw draw(seed);
    const auto shape = random_shape(draw);
    const auto space = random_space(draw, shape);
    SoftWidths<double> soft(shape, space, 0.15);
    const auto choice = random_choices(draw, soft.decisions());
    const auto pi =
        hard_draw(soft.decisions(), choice, random_probabilities(draw, soft.decisions()));
    const auto extents = soft.set(exec(), pi.soft);
    const auto& active = soft.set(exec(), pi);
    EXPECT_EQ(soft.mixture(), pi.value);
    const auto spec = spec_of_choices(shape, space, soft.decisions(), choice);
    const auto masked = masked_widths<double>(shape, spec);
    const auto expect_masks = [](const SoftMask<double>& mask, const SoftMask<double>& zeros) {
      const auto m = to_host(mask.value);
      auto expected = to_host(zeros.value);
      expected.resize(m.size());
      EXPECT_EQ(m, expected);
    };
    EXPECT_EQ(active.hidden, extents.hidden) << "as far as the soft choices reach";
    expect_masks(active.hidden_mask, masked.hidden_mask);
    if (active.hidden_mask.value.size() > 0) {
      EXPECT_DOUBLE_EQ(active.norm.params.scale, masked.norm.params.scale);
      EXPECT_DOUBLE_EQ(active.norm.params.epsilon, masked.norm.params.epsilon);
    }
    for (std::size_t l = 0; l < active.layers.size(); ++l) {
      const auto &layer = active.layers[l], &reach = extents.layers[l];
      EXPECT_EQ(layer.gamma, spec.layers[l].keep ? 1 : 0);
      EXPECT_EQ(layer.active, reach.active);
      EXPECT_EQ(layer.dgamma.size(), reach.dgamma.size());
      EXPECT_EQ(layer.width, reach.width);
      EXPECT_EQ(layer.head_channels, reach.head_channels);
      if (layer.head_channels == shape.layers[l].head_channels)
        expect_masks(layer.inner, masked.layers[l].inner);
      expect_masks(layer.heads, masked.layers[l].heads);
      if (layer.gated_norm.dscale.size() > 0) {
        EXPECT_DOUBLE_EQ(layer.gated_norm.params.scale, masked.layers[l].gated_norm.params.scale);
      }
    }
  }
}

/// dL/d value at the hard point, relative to the choice that is taken: value is renormalised, so
/// that a step towards choice i goes away from the one taken.
TEST(SoftWidths, StraightThroughDrawsHaveTheGradientOfTheHardPoint) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    Draw draw(500 + seed);
    const auto shape = seed < 2 ? small_shape() : random_shape(draw);
    const auto space = seed < 2 ? small_space(seed == 1) : random_space(draw, shape);
    SoftWidths<double> soft(shape, space, 1e-12);
    const auto choice = random_choices(draw, soft.decisions());
    auto pi = hard_draw(soft.decisions(), choice, random_probabilities(draw, soft.decisions()));
    SyntheticLoss loss;
    const double here = loss.value(soft.set(exec(), pi), true);
    const auto gradient = soft.gradient(exec());
    for (std::size_t d = 0; d < gradient.size(); ++d)
      for (std::size_t i = 0; i < gradient[d].size(); ++i) {
        const auto at = [&](double step) {
          auto moved = pi;
          moved.value[d][i] += step;
          return loss.value(soft.set(exec(), moved), false);
        };
        const double h = 1e-3,
                     slope = (-25 * here + 48 * at(h) - 36 * at(2 * h) + 16 * at(3 * h) -
                              3 * at(4 * h)) /
                             (12 * h),
                     expected = gradient[d][i] - gradient[d][choice[d]];
        EXPECT_NEAR(slope, expected, 1e-6 * (1 + std::abs(expected)))
            << axis_name(soft.decisions()[d].axis) << " choice " << i;
      }
  }
}

TEST(SoftWidths, SetStartsFromZeroGradients) {
  SoftWidths<double> soft(small_shape(), small_space(false));
  Draw draw(3);
  const auto pi = random_probabilities(draw, soft.decisions());
  SyntheticLoss().value(soft.set(exec(), pi), true);
  soft.set(exec(), pi);
  for (const auto& list : soft.gradient(exec())) EXPECT_THAT(list, testing::Each(0.0));
}

TEST(SoftWidths, ListsMustFitTheDecisions) {
  SoftWidths<double> soft(small_shape(), small_space(false));
  EXPECT_THROW(soft.set(exec(), {{1, 0, 0}}), ContractError);
}

TEST(SoftWidths, MasksFallAlongTheUnitsAndStayInTheUnitInterval) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Draw draw(300 + seed);
    const auto shape = random_shape(draw);
    const auto space = random_space(draw, shape);
    SoftWidths<double> soft(shape, space);
    const auto& active = soft.set(exec(), random_probabilities(draw, soft.decisions()));
    const auto check = [](const std::vector<double>& mask, std::size_t stride) {
      for (std::size_t i = 0; i < mask.size(); ++i) {
        EXPECT_GT(mask[i], 0);
        EXPECT_LE(mask[i], 1 + 1e-12);
        if (i >= stride) {
          EXPECT_LE(mask[i], mask[i - stride] + 1e-12);
        }
      }
    };
    check(to_host(active.hidden_mask.value), 1);
    for (const auto& layer : active.layers) {
      const auto inner = to_host(layer.inner.value);
      if (!inner.empty()) check(inner, inner.size() / static_cast<std::size_t>(layer.width));
      check(to_host(layer.heads.value), 1);
      EXPECT_GE(layer.gamma, 0);
      EXPECT_LE(layer.gamma, 1 + 1e-12);
    }
  }
}

/// Every gradient that a model would add is one.
void fill_gradients(const ActiveWidths<double>& active) {
  const auto fill = [](const View1<double>& gradient) {
    if (gradient.size() > 0) Kokkos::deep_copy(gradient, 1.0);
  };
  fill(active.hidden_mask.gradient);
  fill(active.norm.dscale);
  for (const auto& layer : active.layers) {
    fill(layer.inner.gradient);
    fill(layer.heads.gradient);
    fill(layer.gated_norm.dscale);
    fill(layer.dgamma);
  }
}

TEST(SoftWidths, GradientsOfTwoRanksAddUpToThatOfOne) {
  const auto shape = small_shape();  // two groups in every mixer
  for (const bool per_layer : {false, true}) {
    const auto space = small_space(per_layer);
    Draw draw(17);
    SoftWidths<double> whole(shape, space);
    const auto pi = random_probabilities(draw, whole.decisions());
    fill_gradients(whole.set(exec(), pi));
    const auto expected = whole.gradient(exec());
    Probabilities sum;
    for (const int rank : {0, 1}) {
      SoftWidths<double> part(shape, space, 1e-3, Shard{rank, 2});
      fill_gradients(part.set(exec(), pi));
      const auto mine = part.gradient(exec());
      if (sum.empty()) sum = Probabilities(mine.size());
      for (std::size_t d = 0; d < mine.size(); ++d) {
        sum[d].resize(mine[d].size(), 0.0);
        for (std::size_t i = 0; i < mine[d].size(); ++i) sum[d][i] += mine[d][i];
      }
      EXPECT_EQ(part.num_shared_gradients(), whole.num_shared_gradients());
    }
    for (std::size_t d = 0; d < sum.size(); ++d)
      for (std::size_t i = 0; i < sum[d].size(); ++i)
        EXPECT_NEAR(sum[d][i], expected[d][i], 1e-7) << axis_name(whole.decisions()[d].axis);
  }
}

TEST(SoftWidths, UnitsOfTwoRanksAreThoseOfOneInTurn) {
  const auto shape = small_shape();
  const auto space = small_space(false);
  Draw draw(18);
  SoftWidths<double> whole(shape, space), first(shape, space, 1e-3, Shard{0, 2}),
      second(shape, space, 1e-3, Shard{1, 2});
  const auto pi = random_probabilities(draw, whole.decisions());
  const auto &all = whole.set(exec(), pi), &a = first.set(exec(), pi), &b = second.set(exec(), pi);
  for (std::size_t l = 0; l < all.layers.size(); ++l) {
    EXPECT_EQ(a.layers[l].width + b.layers[l].width, all.layers[l].width);
    const auto mask = to_host(all.layers[l].heads.value), mine = to_host(a.layers[l].heads.value),
               other = to_host(b.layers[l].heads.value);
    for (std::size_t u = 0; u < mask.size(); ++u)
      EXPECT_EQ(mask[u], (u % 2 ? other : mine)[u / 2]) << "layer " << l << " unit " << u;
    EXPECT_EQ(a.layers[l].gated_norm.params.scale, all.layers[l].gated_norm.params.scale);
  }
  EXPECT_EQ(a.hidden, all.hidden);
}

TEST(SoftWidths, DroppedChoicesGetNoGradient) {
  const auto shape = small_shape("-");
  auto space = rigid_space(shape);
  space.ffn.widths = {10, 7, 2};
  SoftWidths<double> soft(shape, space, 0.1);
  fill_gradients(soft.set(exec(), {{0.6, 0.35, 0.05}}));
  const auto gradient = soft.gradient(exec());
  EXPECT_EQ(gradient[0][2], 0);
  EXPECT_EQ(gradient[0][0], 10) << "all ten neurons";
  EXPECT_EQ(gradient[0][1], 7);
  const auto by_pi = soft.through_draw(gradient);
  const double mean = (0.6 * 10 + 0.35 * 7) / 0.95;
  EXPECT_TRUE(near(by_pi[0], std::vector<double>{(10 - mean) / 0.95, (7 - mean) / 0.95, 0},
                   10 * tolerance<double>(10)));
  fill_gradients(soft.set(exec(), {{0.95, 0.03, 0.02}}));
  EXPECT_THAT(soft.gradient(exec())[0], testing::Each(0.0)) << "one choice left is hard";
}

TEST(SoftWidths, GradientsLieOnAGrid) {
  Draw draw(19);
  SoftWidths<double> soft(small_shape(), small_space(true));
  const auto pi = random_probabilities(draw, soft.decisions());
  SyntheticLoss().value(soft.set(exec(), pi), true);
  for (const auto& list : soft.gradient(exec()))
    for (const double g : list) EXPECT_EQ(std::nearbyint(g * 0x1p30), g * 0x1p30);
}

TEST(SoftWidths, GroupsHaveANormOnlyWhereTheKindSaysSo) {
  Draw draw(20);
  const auto shape = small_shape("M*-");
  SoftWidths<double> soft(shape, [&] {
    auto space = small_space(false);
    space.depth = {};
    space.drop_order.clear();
    return space;
  }());
  const auto& active = soft.set(exec(), random_probabilities(draw, soft.decisions()));
  EXPECT_GT(active.layers[0].heads.value.size(), 0u);
  EXPECT_EQ(active.layers[0].gated_norm.dscale.size(), 2u);
  for (const std::size_t l : {1, 2}) {
    EXPECT_GT(active.layers[l].inner.value.size(), 0u);
    EXPECT_EQ(active.layers[l].heads.value.size(), 0u);
    EXPECT_EQ(active.layers[l].gated_norm.dscale.size(), 0u);
  }
}

}  // namespace
}  // namespace elastic::test
