// SPDX-License-Identifier: Apache-2.0
// Gradients of the whole model in double against finite differences: parameters, masks, norm
// scales, depth gates, and the router's probabilities behind them.
#include <numeric>

#include "elastic/soft_widths.hpp"
#include "unit_tests/model/model_problem.hpp"

namespace elastic::test {
namespace {

using Problem = ModelProblem<double>;

/// Five-point central difference of `loss` by the number x.
template <class Loss>
double derivative(double& x, const Loss& loss, double step) {
  const double exact = x;
  const auto at = [&](double h) {
    x = exact + h;
    return loss();
  };
  const double slope = (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step);
  x = exact;
  return slope;
}

void check_parameters(Problem& problem, const ActiveWidths<double>& widths) {
  problem.differentiate(widths);
  const auto loss = [&] { return problem.loss(widths); };
  const auto& store = problem.model.parameters();
  EXPECT_LT(gradient_error(loss, store.values(), store.gradients()), 1e-6);
  for (const auto& p : store)
    EXPECT_LT(gradient_error(loss, p.value, p.gradient), 1e-6) << p.info.name;
}

/// Random masks, norm scales and gates on all of the model.
ActiveWidths<double> random_soft_widths(const ModelShape& shape) {
  auto widths = masked_widths<double>(shape, full_spec(shape), true);
  std::uint32_t seed = 61;
  const auto fill = [&](const SoftMask<double>& mask) {
    assign(mask.value, random_values<double>(mask.value.size(), seed++, 0.3, 1));
  };
  const auto number = [&] { return random_values<double>(1, seed++, 0.6, 1)[0]; };
  fill(widths.hidden_mask);
  widths.norm.params.scale = number();
  for (auto& layer : widths.layers) {
    fill(layer.inner);
    fill(layer.heads);
    layer.gamma = number();
    layer.gated_norm.params.scale = number();
  }
  return widths;
}

TEST(ModelGradients, CrossEntropyOfTheFullModel) {
  Problem problem;
  check_parameters(problem, problem.full_widths());
}

TEST(ModelGradients, DistillationOfASubmodel) {
  Problem problem;
  problem.add_teacher();
  problem.config.cross_entropy_weight = 0;
  check_parameters(problem, prefix_widths<double>(small_parent(), narrow_small_spec()));
}

TEST(ModelGradients, BothLossesUnderSoftMasks) {
  Problem problem;
  problem.add_teacher();
  check_parameters(problem, random_soft_widths(small_parent()));
}

TEST(ModelGradients, MasksScalesAndGates) {
  Problem problem;
  problem.add_teacher();
  auto widths = random_soft_widths(small_parent());
  problem.differentiate(widths);
  const auto loss = [&] { return problem.loss(widths); };
  const auto check_mask = [&](const SoftMask<double>& mask, const std::string& what) {
    if (mask.value.size() == 0) return;
    EXPECT_GT(dot(mask.gradient, mask.gradient), 0) << what;
    EXPECT_LT(gradient_error(loss, mask.value, mask.gradient), 1e-6) << what;
  };
  const auto check_number = [&](double& x, const View1<double>& gradient, const std::string& what) {
    const auto parts = to_host(gradient);
    const double g = std::accumulate(parts.begin(), parts.end(), 0.0);
    EXPECT_NEAR(derivative(x, loss, 1e-3), g, 1e-6 * std::abs(g)) << what;
  };
  check_mask(widths.hidden_mask, "hidden mask");
  check_number(widths.norm.params.scale, widths.norm.dscale, "norm scale");
  for (std::size_t l = 0; l < widths.layers.size(); ++l) {
    auto& layer = widths.layers[l];
    const auto place = fmt::format(" of layer {}", l);
    check_mask(layer.inner, "inner mask" + place);
    check_mask(layer.heads, "heads mask" + place);
    check_number(layer.gamma, layer.dgamma, "gate" + place);
    if (layer.gated_norm.dscale.size() > 0)
      check_number(layer.gated_norm.params.scale, layer.gated_norm.dscale, "gated norm" + place);
  }
}

/// The epsilon of the norms depends on pi without gradient (as in the reference), so it is made
/// small enough not to matter.
void check_probabilities(ModelShape shape, const ElasticSpace& space, Draw& draw) {
  SCOPED_TRACE(shape.pattern());
  shape.norm_epsilon = 1e-24;
  Problem problem(shape, 2, {3, 4});
  problem.add_teacher();
  SoftWidths<double> soft(shape, space);
  auto pi = random_probabilities(draw, soft.decisions());
  const auto& widths = soft.set(problem.context.exec, pi);
  problem.differentiate(widths);
  const auto gradient = soft.through_draw(soft.gradient(problem.context.exec));
  const auto loss = [&] { return problem.loss(soft.set(problem.context.exec, pi)); };
  for (std::size_t d = 0; d < pi.size(); ++d) {
    double size = 1e-3;
    for (const double g : gradient[d]) size = std::max(size, std::abs(g));
    for (std::size_t i = 0; i < pi[d].size(); ++i)
      EXPECT_NEAR(derivative(pi[d][i], loss, 1e-4), gradient[d][i], 1e-6 * size)
          << axis_name(soft.decisions()[d].axis) << " choice " << i;
  }
}

TEST(ModelGradients, ProbabilitiesOfEveryAxis) {
  for (const bool per_layer : {false, true}) {
    Draw draw(per_layer);
    check_probabilities(small_parent(), small_space(per_layer), draw);
  }
}

TEST(ModelGradients, ProbabilitiesOfRandomSpaces) {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    Draw draw(700 + seed);
    const auto shape = random_parent(draw);
    check_probabilities(shape, random_space(draw, shape), draw);
  }
}

/// Length of a, and the cosine of the angle between a and b.
double length_of(const std::vector<double>& a) { return std::sqrt(dot(a, a)); }
double cosine_of(const std::vector<double>& a, const std::vector<double>& b) {
  return dot(a, b) / (length_of(a) * length_of(b));
}

/// A model on bfloat16 against one in float on the same rounded numbers. Each of the few dozen
/// values that an element of a gradient passes through is off by up to 2^-9 of itself at random,
/// and a squared ReLU doubles that: together some 2^-9 sqrt(100) = 2% of the gradient's length.
TEST(ModelGradients, OnBfloat16AreThoseOfFloat) {
  for (const auto& spec : {full_spec(small_parent()), narrow_small_spec()}) {
    ModelProblem<bfloat16> narrow;
    ModelProblem<float> single;
    narrow.add_teacher();
    single.add_teacher();
    assign_values(single.model.parameters(), narrow.model.parameters());
    assign_values(single.teacher_model->parameters(), narrow.teacher_model->parameters());
    single.teacher_hidden = stored_as<float>(narrow.teacher_hidden);
    const auto losses = narrow.differentiate(prefix_widths<bfloat16>(small_parent(), spec)),
               expected = single.differentiate(prefix_widths<float>(small_parent(), spec));
    EXPECT_NEAR(losses.cross_entropy, expected.cross_entropy, 0.02 * expected.cross_entropy);
    EXPECT_NEAR(losses.kl, expected.kl, 0.02 * expected.kl);
    const auto all = to_double(narrow.model.parameters().gradients()),
               all_expected = to_double(single.model.parameters().gradients());
    EXPECT_GT(cosine_of(all, all_expected), 0.9995);
    EXPECT_NEAR(length_of(all) / length_of(all_expected), 1, 0.01);
    for (const auto& p : narrow.model.parameters()) {
      const auto g = to_double(p.gradient),
                 g_expected = to_double(single.model.parameters().find(p.info.name)->gradient);
      if (length_of(g_expected) == 0) {
        EXPECT_EQ(length_of(g), 0) << p.info.name;
        continue;
      }
      EXPECT_GT(cosine_of(g, g_expected), 0.995) << p.info.name;
      EXPECT_NEAR(length_of(g) / length_of(g_expected), 1, 0.05) << p.info.name;
    }
  }
}

}  // namespace
}  // namespace elastic::test
