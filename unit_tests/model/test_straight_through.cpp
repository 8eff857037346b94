// SPDX-License-Identifier: Apache-2.0
// Straight-through draws in a whole model: numbers of the submodel, and the gradient of its loss by
// every probability that the soft draw keeps.
#include "elastic/soft_widths.hpp"
#include "unit_tests/model/model_problem.hpp"

namespace elastic::test {
namespace {

struct HardCase {
  ModelShape shape = small_parent();
  ElasticSpace space = small_space(true);
  ModelProblem<double> problem;
  SoftWidths<double> soft;
  std::vector<index_t> choice;
  RouterDraw pi;

  explicit HardCase(std::uint64_t seed)
      : problem(without_epsilon(shape), 2, {3, 4}), soft(without_epsilon(shape), space, 1e-9) {
    problem.add_teacher();
    Draw draw(seed);
    choice = random_choices(draw, soft.decisions());
    pi.soft = random_probabilities(draw, soft.decisions());
    for (std::size_t d = 0; d < choice.size(); ++d) {
      auto& list = pi.soft[d];
      std::iter_swap(list.begin() + choice[d], std::max_element(list.begin(), list.end()));
      pi.value.emplace_back(list.size(), 0.0)[choice[d]] = 1;
    }
  }
  /// The epsilon of the norms depends on pi without gradient, so it is made small enough not to
  /// matter.
  static ModelShape without_epsilon(ModelShape shape) {
    shape.norm_epsilon = 1e-24;
    return shape;
  }
  SubmodelSpec spec() const { return spec_of_choices(shape, space, soft.decisions(), choice); }
};

TEST(StraightThrough, NumbersAndParameterGradientsAreThoseOfTheSubmodel) {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    HardCase hard(seed);
    auto& problem = hard.problem;
    const auto prefix = prefix_widths<double>(hard.problem.model.shape(), hard.spec());
    const double expected = problem.loss(prefix);
    problem.differentiate(prefix);
    const auto gradients = to_host(problem.model.parameters().gradients());
    const auto& widths = hard.soft.set({}, hard.pi);
    EXPECT_NEAR(problem.loss(widths), expected, 1e-12 * std::abs(expected));
    problem.differentiate(widths);
    EXPECT_TRUE(near(problem.model.parameters().gradients(), gradients, 1e-11));
  }
}

/// As SoftWidths.StraightThroughDrawsHaveTheGradientOfTheHardPoint, through the whole model.
TEST(StraightThrough, ProbabilitiesGetTheGradientOfTheLossAtTheSubmodel) {
  double wider = 0;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    HardCase hard(seed);
    auto& problem = hard.problem;
    problem.differentiate(hard.soft.set({}, hard.pi));
    const auto gradient = hard.soft.gradient({});
    const double here = problem.loss(hard.soft.set({}, hard.pi));
    for (std::size_t d = 0; d < gradient.size(); ++d) {
      double size = 1e-2;
      for (const double g : gradient[d]) size = std::max(size, std::abs(g));
      for (std::size_t i = 0; i < gradient[d].size(); ++i) {
        const auto at = [&](double step) {
          auto moved = hard.pi;
          moved.value[d][i] += step;
          return problem.loss(hard.soft.set({}, moved));
        };
        const double h = 1e-3, slope = (-25 * here + 48 * at(h) - 36 * at(2 * h) + 16 * at(3 * h) -
                                        3 * at(4 * h)) /
                                       (12 * h);
        EXPECT_NEAR(slope, gradient[d][i] - gradient[d][hard.choice[d]], 1e-5 * size)
            << axis_name(hard.soft.decisions()[d].axis) << " choice " << i;
        if (static_cast<index_t>(i) < hard.choice[d]) wider += std::abs(slope);
      }
    }
  }
  EXPECT_GT(wider, 1e-2) << "wider choices than the one taken get a gradient";
}

}  // namespace
}  // namespace elastic::test
