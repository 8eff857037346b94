// SPDX-License-Identifier: Apache-2.0
// Losses chunked over tokens: equations, chunk sizes, factors. Gradients: test_model_gradients.cpp.
#include "model/losses.hpp"

#include "unit_tests/model/model_problem.hpp"

namespace elastic::test {
namespace {

/// log softmax(x / temperature) of one row.
std::vector<double> log_softmax(const double* x, index_t n, double temperature) {
  double sum = 0;
  for (index_t v = 0; v < n; ++v) sum += std::exp(x[v] / temperature);
  std::vector<double> result;
  for (index_t v = 0; v < n; ++v) result.push_back(x[v] / temperature - std::log(sum));
  return result;
}

TEST(Losses, ByTheirEquations) {
  ModelProblem<double> problem;
  problem.add_teacher();
  const auto widths = problem.full_widths();
  const auto student = problem.logits(widths);
  const View2<double> teacher_logits("elastic::test::logits", 26, 50);
  problem.teacher_model->logits({}, problem.teacher_hidden, teacher_logits);
  const auto teacher = to_host(teacher_logits);
  const auto targets = to_host(problem.targets);
  const auto weight = to_host(problem.weight);
  LossSums expected;
  for (index_t t = 0; t < 26; ++t) {
    expected.cross_entropy -= weight[t] * log_softmax(&student[t * 50], 50, 1)[targets[t]];
    const auto p = log_softmax(&teacher[t * 50], 50, 1.5),
               q = log_softmax(&student[t * 50], 50, 1.5);
    for (index_t v = 0; v < 50; ++v) expected.kl += weight[t] * std::exp(p[v]) * (p[v] - q[v]);
  }
  const auto sums = problem.evaluate(widths);
  EXPECT_NEAR(sums.cross_entropy, expected.cross_entropy, 1e-12 * expected.cross_entropy);
  EXPECT_NEAR(sums.kl, expected.kl, 1e-12 * expected.kl);
}

template <class T>
void check_chunks() {
  ModelProblem<T> problem;
  problem.add_teacher();
  const auto widths = problem.full_widths();
  const auto sums = problem.differentiate(widths);
  const auto gradients = to_host(problem.model.parameters().gradients());
  const double tol = tolerance<T>(200);
  for (const index_t size : {1, 3, 13, 25, 26}) {
    problem.config.tokens_per_chunk = size;
    const auto evaluated = problem.evaluate(widths), other = problem.differentiate(widths);
    EXPECT_NEAR(other.cross_entropy, sums.cross_entropy, tol * sums.cross_entropy) << size;
    EXPECT_NEAR(other.kl, sums.kl, tol * sums.kl) << size;
    EXPECT_NEAR(evaluated.cross_entropy, sums.cross_entropy, tol * sums.cross_entropy) << size;
    EXPECT_NEAR(evaluated.kl, sums.kl, tol * sums.kl) << size;
    EXPECT_TRUE(near(problem.model.parameters().gradients(), gradients, tol)) << size;
  }
}

TEST(Losses, ChunksOfTokensChangeRoundingOnly) {
  check_chunks<float>();
  check_chunks<double>();
}

template <class T>
void check_kept_logits() {
  ModelProblem<T> problem, kept;
  for (ModelProblem<T>* p : {&problem, &kept}) {
    p->add_teacher();
    p->config.tokens_per_chunk = 7;
  }
  kept.keep_teacher_logits();
  const auto sums = problem.differentiate(problem.full_widths()),
             same = kept.differentiate(kept.full_widths());
  EXPECT_EQ(same.kl, sums.kl);
  EXPECT_EQ(same.cross_entropy, sums.cross_entropy);
  EXPECT_EQ(to_host(kept.model.parameters().gradients()),
            to_host(problem.model.parameters().gradients()));
}

TEST(Losses, KeptLogitsOfTheTeacherHaveTheBitsOfThoseComputedAgain) {
  check_kept_logits<bfloat16>();
  check_kept_logits<float>();
  check_kept_logits<double>();
}

TEST(Losses, FactorScalesTheGradientOnly) {
  ModelProblem<double> problem;
  problem.add_teacher();
  const auto widths = problem.full_widths();
  const auto sums = problem.differentiate(widths);
  auto expected = to_host(problem.model.parameters().gradients());
  for (double& g : expected) g *= 0.125;
  EXPECT_EQ(problem.differentiate(widths, Keep::everything, 0.125).kl, sums.kl);
  EXPECT_TRUE(near(problem.model.parameters().gradients(), expected, tolerance<double>(1)));
}

TEST(Losses, EachGradientHasTheWeightOfItsLoss) {
  ModelProblem<double> problem;
  problem.add_teacher();
  const auto gradients = [&](double cross_entropy, double distillation) {
    problem.config.cross_entropy_weight = cross_entropy;
    problem.config.distillation_weight = distillation;
    problem.differentiate(problem.full_widths());
    return to_host(problem.model.parameters().gradients());
  };
  const auto of_targets = gradients(1, 0), of_teacher = gradients(0, 1);
  auto expected = of_targets;
  for (std::size_t i = 0; i < expected.size(); ++i)
    expected[i] = 0.3 * of_targets[i] + 0.7 * of_teacher[i];
  gradients(0.3, 0.7);
  EXPECT_TRUE(near(problem.model.parameters().gradients(), expected, tolerance<double>(1000)));
}

TEST(Losses, TokensWithoutWeightDoNotCount) {
  ModelProblem<double> problem;
  problem.add_teacher();
  Kokkos::deep_copy(problem.weight, 0.0f);
  const auto sums = problem.differentiate(problem.full_widths());
  EXPECT_EQ(sums.cross_entropy, 0);
  EXPECT_EQ(sums.kl, 0);
  for (const double g : to_host(problem.model.parameters().gradients())) ASSERT_EQ(g, 0);
}

TEST(Losses, DistillationFromItselfIsZero) {
  ModelProblem<double> problem;
  const auto widths = problem.full_widths();
  LanguageModel<double> teacher(small_parent(), true);
  Kokkos::deep_copy(teacher.parameters().values(), problem.model.parameters().values());
  auto pass = teacher.make_pass(Keep::nothing);
  teacher.forward(problem.context, widths, problem.tokens, pass);
  const auto sums = evaluate_losses<double>(problem.context, problem.model, pass.hidden,
                                            {problem.targets, problem.weight},
                                            {.model = &teacher, .hidden = pass.hidden}, {});
  EXPECT_NEAR(sums.kl, 0, 1e-13);
}

TEST(Losses, DistillationNeedsATeacher) {
  ModelProblem<float> problem;
  problem.config.distillation_weight = 1;
  EXPECT_THROW(problem.differentiate(problem.full_widths()), ContractError);
}

}  // namespace
}  // namespace elastic::test
