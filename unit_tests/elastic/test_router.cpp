// SPDX-License-Identifier: Apache-2.0
// Schedules, interpolation of budgets, noise, hard draws, and gradients of the router.
#include "elastic/router.hpp"

#include <gmock/gmock.h>

#include "unit_tests/elastic/shapes_for_tests.hpp"
#include "unit_tests/support/gradient.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;

const kernels::Products products() { return {}; }

std::vector<Decision> decisions(bool per_layer) {
  return list_decisions(small_shape(), small_space(per_layer));
}

template <class T = double>
Router<T> make_router(bool per_layer = true, double hard = 0, std::uint32_t seed = 5) {
  return Router<T>(decisions(per_layer), {1, 0.75, 0.5},
                   {.hidden_size = 16, .init_std = 0.5, .hard_sample_probability = hard}, seed);
}

TEST(RouterSchedule, EndsAndMiddle) {
  const RouterSchedule schedule;
  EXPECT_DOUBLE_EQ(schedule.at(0).logit_scale, 1);
  EXPECT_DOUBLE_EQ(schedule.at(0).tau, 1);
  EXPECT_DOUBLE_EQ(schedule.at(0.5).logit_scale, 5.5);
  EXPECT_DOUBLE_EQ(schedule.at(0.5).tau, std::sqrt(0.05));
  EXPECT_DOUBLE_EQ(schedule.at(1).logit_scale, 10);
  EXPECT_DOUBLE_EQ(schedule.at(1).tau, 0.05);
  EXPECT_DOUBLE_EQ(schedule.at(7).tau, 0.05);
}

TEST(Router, ShapesAndInitialization) {
  const auto router = make_router<float>();
  const auto& p = router.parameters();
  EXPECT_EQ(p.size(), 12) << "two tensors for each of six axes";
  const auto* ffn = p.find("router.ffn.output");
  ASSERT_NE(ffn, nullptr);
  EXPECT_EQ(ffn->info.rows, 6) << "two layers of three choices";
  EXPECT_EQ(ffn->info.columns, 16);
  EXPECT_FALSE(ffn->info.weight_decay);
  EXPECT_EQ(p.find("router.ffn.input")->info.columns, 3);
  const auto values = to_double(p.values());
  double mean = 0, square = 0;
  for (const double v : values) mean += v, square += v * v;
  const auto n = static_cast<double>(values.size());
  EXPECT_NEAR(mean / n, 0, 4 * 0.5 / std::sqrt(n));
  EXPECT_NEAR(std::sqrt(square / n), 0.5, 4 * 0.5 / std::sqrt(2 * n));
  EXPECT_TRUE(bitwise_equal(p.values(), make_router<float>().parameters().values()));
  EXPECT_FALSE(bitwise_equal(p.values(), make_router<float>(true, 0, 6).parameters().values()));
}

/// z of one axis by the definition.
std::vector<double> reference_logits(const Router<double>& router, const std::string& axis,
                                     double budget) {
  const auto &w1 = *router.parameters().find("router." + axis + ".input"),
             &w2 = *router.parameters().find("router." + axis + ".output");
  const auto a = to_host(w1.value), b = to_host(w2.value);
  const auto u = budget_blend(router.budgets(), budget);
  std::vector<double> h(w1.info.rows, 0.0), z(w2.info.rows, 0.0);
  for (std::size_t i = 0; i < h.size(); ++i) {
    for (std::size_t k = 0; k < u.size(); ++k) h[i] += a[i * u.size() + k] * u[k];
    if (h[i] < 0) h[i] *= 0.1;
  }
  for (std::size_t i = 0; i < z.size(); ++i)
    for (std::size_t k = 0; k < h.size(); ++k) z[i] += b[i * h.size() + k] * h[k];
  return z;
}

TEST(Router, LogitsByDefinitionAlsoBetweenBudgets) {
  const auto router = make_router();
  for (const double budget : {1.0, 0.8, 0.5}) {
    const auto logits = router.logits(products(), budget);
    ASSERT_EQ(logits.size(), 9u);
    EXPECT_TRUE(near(logits[0], reference_logits(router, "hidden", budget), 1e-13));
    auto ffn = logits[6];
    ffn.insert(ffn.end(), logits[7].begin(), logits[7].end());
    EXPECT_TRUE(near(ffn, reference_logits(router, "ffn", budget), 1e-13));
    EXPECT_TRUE(near(logits[8], reference_logits(router, "depth", budget), 1e-13));
  }
}

TEST(Router, ProbabilitiesAreRepeatableAndFollowTheStream) {
  auto router = make_router<float>();
  const auto first = router.forward(products(), 0.5, {1, 1}, 3).value;
  for (const auto& list : first) {
    double sum = 0;
    for (const double p : list) sum += p;
    EXPECT_NEAR(sum, 1, 1e-6);
  }
  EXPECT_NE(router.forward(products(), 0.5, {1, 1}, 4).value, first);
  EXPECT_EQ(router.forward(products(), 0.5, {1, 1}, 3).value, first);
  EXPECT_EQ(make_router<float>().forward(products(), 0.5, {1, 1}, 3).value, first);
}

TEST(Router, AxesHaveIndependentNoise) {
  auto router = make_router();
  // pi is noise alone; hidden and depth both have three choices.
  Kokkos::deep_copy(router.parameters().values(), 0.0);
  const auto pi = router.forward(products(), 0.5, {1, 1}, 3).value;
  EXPECT_NE(pi[0], pi[8]);
  EXPECT_NE(pi[6], pi[7]) << "layers of an axis differ as well";
}

TEST(Router, GumbelMaxDrawsFollowTheSoftmaxOfScaledLogits) {
  auto router = make_router();
  const auto z = router.logits(products(), 0.75)[0];
  const double scale = 3;
  double sum = 0;
  for (const double v : z) sum += std::exp(scale * v);
  std::vector<int> count(3, 0);
  constexpr int num_draws = 4000;
  for (int i = 0; i < num_draws; ++i) {
    const auto& pi = router.forward(products(), 0.75, {scale, 0.3}, i).soft[0];
    ++count[std::max_element(pi.begin(), pi.end()) - pi.begin()];
  }
  for (std::size_t c = 0; c < 3; ++c) {
    const double p = std::exp(scale * z[c]) / sum;
    EXPECT_NEAR(count[c], num_draws * p, 4 * std::sqrt(num_draws * p * (1 - p)) + 1);
  }
}

TEST(Router, HardDrawsAreOneHotForAllAxesTogether) {
  auto soft = make_router(true, 0), sometimes = make_router(true, 0.25);
  int hard_calls = 0;
  for (int i = 0; i < 400; ++i) {
    const auto draw = sometimes.forward(products(), 0.5, {1, 1}, i);
    const auto& pi = draw.value;
    const auto expected = soft.forward(products(), 0.5, {1, 1}, i).value;
    EXPECT_EQ(draw.soft, expected);
    const bool hard = *std::max_element(pi[0].begin(), pi[0].end()) == 1.0;
    hard_calls += hard;
    if (!hard) {
      EXPECT_EQ(pi, expected);
    }
    for (std::size_t d = 0; hard && d < pi.size(); ++d) {
      EXPECT_EQ(std::count(pi[d].begin(), pi[d].end(), 0.0) + 1, static_cast<long>(pi[d].size()));
      EXPECT_EQ(std::max_element(pi[d].begin(), pi[d].end()) - pi[d].begin(),
                std::max_element(expected[d].begin(), expected[d].end()) - expected[d].begin());
    }
  }
  EXPECT_NEAR(hard_calls, 100, 40);
}

double loss_of(const Probabilities& pi, Probabilities* gradient) {
  double sum = 0;
  std::uint64_t k = 0;
  for (std::size_t d = 0; d < pi.size(); ++d)
    for (std::size_t i = 0; i < pi[d].size(); ++i) {
      const double c = random_uniform({1, RandomPurpose::test}, k++) - 0.5;
      sum += c * pi[d][i] + pi[d][i] * pi[d][i];
      if (gradient) (*gradient)[d][i] = c + 2 * pi[d][i];
    }
  return sum;
}

TEST(Router, GradientAgainstFiniteDifferences) {
  for (const double budget : {1.0, 0.6})
    for (const bool per_layer : {false, true}) {
      auto router = make_router(per_layer);
      const RouterTemperature temperature{2, 0.7};
      const auto loss = [&] {
        return loss_of(router.forward(products(), budget, temperature, 9).value, nullptr);
      };
      const auto pi = router.forward(products(), budget, temperature, 9).value;
      Probabilities dpi = pi;
      loss_of(pi, &dpi);
      router.backward(products(), dpi);
      const auto once = to_host(router.parameters().gradients());
      EXPECT_LT(
          directional_error(loss, router.parameters().values(), router.parameters().gradients()),
          1e-7);
      router.forward(products(), budget, temperature, 9);
      router.backward(products(), dpi);
      auto twice = once;
      for (double& g : twice) g *= 2;
      EXPECT_TRUE(near(router.parameters().gradients(), twice, 1e-13)) << "gradients accumulate";
    }
}

TEST(Router, HardDrawsPassTheGradientOfTheSoftProbabilities) {
  auto soft = make_router(true, 0), hard = make_router(true, 1);
  const Probabilities dpi = soft.forward(products(), 0.5, {1, 1}, 2).soft;
  hard.forward(products(), 0.5, {1, 1}, 2);
  soft.backward(products(), dpi);
  hard.backward(products(), dpi);
  EXPECT_TRUE(bitwise_equal(soft.parameters().gradients(), hard.parameters().gradients()));
  EXPECT_GT(dot(soft.parameters().gradients(), soft.parameters().gradients()), 0);
}

TEST(Router, LogitsDoNotDisturbBackward) {
  auto a = make_router(), b = make_router();
  const auto dpi = a.forward(products(), 0.5, {1, 1}, 2).soft;
  b.forward(products(), 0.5, {1, 1}, 2);
  b.logits(products(), 1);
  a.backward(products(), dpi);
  b.backward(products(), dpi);
  EXPECT_TRUE(bitwise_equal(a.parameters().gradients(), b.parameters().gradients()));
}

TEST(Router, NothingElasticIsFine) {
  Router<float> router({}, {1}, {}, 1);
  EXPECT_TRUE(router.forward(products(), 1, {1, 1}, 0).value.empty());
  router.backward(products(), {});
  EXPECT_TRUE(router.logits(products(), 1).empty());
}

TEST(Router, OneBudgetAnswersEveryQuestionAlike) {
  const Router<double> router(decisions(false), {0.5}, {.hidden_size = 4, .init_std = 0.5}, 5);
  const auto at = [&](double budget) { return router.logits(products(), budget); };
  EXPECT_EQ(at(0.1), at(0.5));
  EXPECT_EQ(at(0.9), at(0.5));
}

TEST(Router, GradientsOfTwoPassesAddUp) {
  auto router = make_router();
  const auto dpi_of = [](const Probabilities& pi) {
    Probabilities dpi = pi;
    for (auto& list : dpi)
      for (std::size_t i = 0; i < list.size(); ++i) list[i] = static_cast<double>(i) - 0.3;
    return dpi;
  };
  const auto gradient_of = [&](std::initializer_list<std::uint64_t> streams) {
    Kokkos::deep_copy(router.parameters().gradients(), 0.0);
    for (const auto stream : streams)
      router.backward(products(), dpi_of(router.forward(products(), 0.6, {2, 0.7}, stream).soft));
    return to_host(router.parameters().gradients());
  };
  const auto first = gradient_of({1}), second = gradient_of({2}), both = gradient_of({1, 2});
  double size = 0;
  for (std::size_t i = 0; i < both.size(); ++i) {
    EXPECT_NEAR(both[i], first[i] + second[i], 1e-12);
    size += std::abs(both[i]);
  }
  EXPECT_GT(size, 1e-3);
}

TEST(Router, ColdProbabilitiesAreNearlyOneHot) {
  auto router = make_router();
  int certain = 0, lists = 0;
  for (std::uint64_t stream = 0; stream < 20; ++stream)
    for (const auto& list : router.forward(products(), 0.75, {10, 0.05}, stream).soft) {
      ++lists;
      certain += *std::max_element(list.begin(), list.end()) > 0.95;
      double sum = 0;
      for (const double p : list) sum += p;
      EXPECT_NEAR(sum, 1, 1e-12);
    }
  EXPECT_GT(certain, 0.9 * lists);
}

}  // namespace
}  // namespace elastic::test
