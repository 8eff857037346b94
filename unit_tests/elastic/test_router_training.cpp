// SPDX-License-Identifier: Apache-2.0
// A router trained through masks and budget loss, as a training step does it, on a loss that knows
// which units matter: it must find the planted submodel and meet its budget by itself.
#include <gmock/gmock.h>

#include "elastic/budget_loss.hpp"
#include "elastic/router.hpp"
#include "elastic/soft_widths.hpp"
#include "unit_tests/elastic/shapes_for_tests.hpp"
#include "unit_tests/support/gradient.hpp"

namespace elastic::test {
namespace {

const ExecutionSpace exec() { return {}; }
const kernels::Products products() { return {}; }

/// Hidden channels and the units of each layer that matter; layers where none does are useless.
struct Planted {
  ModelShape shape = small_shape("M-*-");
  ElasticSpace space = rigid_space(shape);
  SubmodelSpec spec = full_spec(shape);  // keeps what matters, and no more

  Planted() {
    shape.vocab_size = 8;  // so that layers and widths are what costs
    space.hidden.widths = {12, 9, 6};
    space.mamba_heads = {{6, 4, 2}, true};
    space.ffn = {{10, 8, 7}, true};
    space.depth.widths = {0, 1, 2};
    space.drop_order = {3, 2};
    spec.hidden_size = 9;
    spec.layers[0].width = 4;
    spec.layers[3].keep = false;
  }
  double relative_cost(const SubmodelSpec& s) const {
    return parameter_count(shape, s) / parameter_count(shape);
  }
};

/// Missing parts of what matters: sum of (1 - m_j)^2 over hidden channels that matter, and for each
/// layer n (1 - gamma mean m_j)^2 over the n units that matter. Beyond an extent m is 0, and where
/// there is no mask it is 1. Gradients are written as a model's backward pass would.
double loss_of(const Planted& planted, const ActiveWidths<double>& active) {
  double loss = 0;
  const auto value = [](const SoftMask<double>& mask, index_t extent, index_t j) {
    return j >= extent ? 0.0 : mask.value.size() == 0 ? 1.0 : to_host(mask.value)[j];
  };
  std::vector<double> dhidden(active.hidden_mask.value.size(), 0.0);
  for (index_t j = 0; j < planted.spec.hidden_size; ++j) {
    const double missing = 1 - value(active.hidden_mask, active.hidden, j);
    loss += missing * missing;
    if (j < static_cast<index_t>(dhidden.size())) dhidden[j] = -2 * missing;
  }
  if (!dhidden.empty()) assign(active.hidden_mask.gradient, dhidden);
  for (std::size_t l = 0; l < active.layers.size(); ++l) {
    const auto& layer = active.layers[l];
    const auto& matters = planted.spec.layers[l];
    if (!matters.keep) continue;
    const auto block = layer.inner.value.size() == 0
                           ? 1
                           : static_cast<index_t>(layer.inner.value.size()) / layer.width;
    const auto n = static_cast<double>(matters.width);
    double mean = 0;
    for (index_t u = 0; u < matters.width; ++u)
      mean += (u < layer.width ? value(layer.inner, layer.width * block, u * block) : 0) / n;
    const double missing = 1 - layer.gamma * mean;
    loss += n * missing * missing;
    if (layer.inner.value.size() > 0) {
      std::vector<double> d(layer.inner.value.size(), 0.0);
      for (index_t u = 0; u < std::min(matters.width, layer.width); ++u)
        d[u * block] = -2 * missing * layer.gamma;
      assign(layer.inner.gradient, d);
    }
    if (layer.dgamma.size() > 0) assign(layer.dgamma, std::vector<double>{-2 * n * missing * mean});
  }
  return loss;
}

struct Trained {
  SubmodelSpec likely;       // argmax of every decision, without the extraction's search
  std::vector<double> loss;  // of the planted loss at each step of the smaller budget
};

/// Adam at 1e-2 on router weights, budgets 1 and that of the planted submodel in turn.
Trained train(const Planted& planted, double hard_sample_probability, std::uint32_t seed) {
  const auto decisions = list_decisions(planted.shape, planted.space);
  const std::vector<double> budgets = {1, planted.relative_cost(planted.spec)};
  Router<double> router(
      decisions, budgets,
      {.hidden_size = 32, .init_std = 0.1, .hard_sample_probability = hard_sample_probability},
      seed);
  SoftWidths<double> soft(planted.shape, planted.space);
  const RouterSchedule schedule;
  const auto& store = router.parameters();
  std::vector<double> m(store.num_elements(), 0.0), v = m;
  Trained trained;
  constexpr int num_steps = 1500;
  for (int step = 1; step <= num_steps; ++step) {
    Kokkos::deep_copy(store.gradients(), 0.0);
    for (std::size_t b = 0; b < budgets.size(); ++b) {
      const auto& draw =
          router.forward(products(), budgets[b], schedule.at(static_cast<double>(step) / num_steps),
                         static_cast<std::uint64_t>(2 * step) + b);
      const double loss = loss_of(planted, soft.set(exec(), draw));
      if (b == 1) trained.loss.push_back(loss);
      auto dpi = soft.gradient(exec());
      const auto cost =
          budget_loss(planted.shape, planted.space, decisions, soft.mixture(), budgets[b], {});
      for (std::size_t d = 0; d < dpi.size(); ++d)
        for (std::size_t i = 0; i < dpi[d].size(); ++i)
          dpi[d][i] = 0.1 * dpi[d][i] + cost.gradient[d][i];
      router.backward(products(), soft.through_draw(dpi));
    }
    auto w = to_host(store.values());
    const auto g = to_host(store.gradients());
    for (std::size_t k = 0; k < w.size(); ++k) {
      m[k] = 0.9 * m[k] + 0.1 * g[k];
      v[k] = 0.98 * v[k] + 0.02 * g[k] * g[k];
      w[k] -= 1e-2 * m[k] / (1 - std::pow(0.9, step)) /
              (std::sqrt(v[k] / (1 - std::pow(0.98, step))) + 1e-8);
    }
    assign(store.values(), w);
  }
  std::vector<index_t> choice;
  for (const auto& z : router.logits(products(), budgets[1]))
    choice.push_back(std::max_element(z.begin(), z.end()) - z.begin());
  trained.likely = spec_of_choices(planted.shape, planted.space, decisions, choice);
  return trained;
}

TEST(RouterTraining, FindsThePlantedSubmodelWithinItsBudget) {
  const Planted planted;
  const double budget = planted.relative_cost(planted.spec);
  ASSERT_LT(budget, 0.75);
  for (const double hard : {0.0, 0.004, 1.0})
    for (const std::uint32_t seed : {1, 2, 3, 4, 5}) {
      const auto trained = train(planted, hard, seed);
      EXPECT_TRUE(is_nested(trained.likely, planted.spec) &&
                  is_nested(planted.spec, trained.likely))
          << "hard " << hard << ": " << describe(planted.shape, trained.likely) << " instead of "
          << describe(planted.shape, planted.spec);
      EXPECT_NEAR(planted.relative_cost(trained.likely) / budget, 1, 0.05);
    }
}

TEST(RouterTraining, HardDrawsAloneLowerTheLoss) {
  const auto loss = train(Planted(), 1, 4).loss;
  const auto mean = [&](std::size_t begin) {
    double sum = 0;
    for (std::size_t i = begin; i < begin + 100; ++i) sum += loss[i] / 100;
    return sum;
  };
  EXPECT_LT(mean(loss.size() - 100), 0.3 * mean(0));
}

}  // namespace
}  // namespace elastic::test
