// SPDX-License-Identifier: Apache-2.0
// The whole model against a plain PyTorch implementation (fixtures/make_model_fixtures.py): logits,
// losses and the gradient of every tensor, two documents in each row.
#include "arch/hybrid_pattern.hpp"
#include "unit_tests/model/model_problem.hpp"
#include "unit_tests/support/fixture.hpp"

namespace elastic::test {
namespace {

const Fixture& fixture() {
  static const Fixture f("model.h5");
  return f;
}

ModelShape fixture_shape(const std::string& pattern, index_t hidden, index_t chunk) {
  ModelConfig config;
  config.hybrid_layer_pattern = pattern;
  config.vocab_size = 11;
  config.hidden_size = hidden;
  config.mamba_num_heads = 4;
  config.mamba_head_dim = 3;
  config.mamba_num_groups = 2;
  config.mamba_state_dim = 5;
  config.chunk_size = chunk;
  config.num_attention_heads = 4;
  config.num_query_groups = 2;
  config.kv_channels = 3;
  config.ffn_hidden_size = 7;
  return elastic::make_shape(config);
}

template <class T>
void load(const ParameterStore<T>& store, const std::string& group) {
  for (const auto& p : store) {
    const auto values = to_host(fixture().matrix<T>(group + "/" + p.info.name));
    ASSERT_EQ(values.size(), p.value.size()) << p.info.name;
    assign(p.value, values);
  }
}

template <class T>
struct FixtureProblem : ModelProblem<T> {
  explicit FixtureProblem(index_t chunk)
      : ModelProblem<T>(fixture_shape("M-M*-", 6, chunk), 2, {4, 6}) {
    load(this->model.parameters(), "student");
    this->context.segment = fixture().tokens("segment");
    this->tokens = fixture().tokens("tokens");
    this->targets = fixture().tokens("targets");
    this->weight = fixture().vector<float>("weight");
  }
  /// The teacher's states from a pass of our own through it.
  void load_teacher() {
    this->teacher_model = std::make_unique<LanguageModel<T>>(fixture_shape("-", 8, 64), true);
    load(this->teacher_model->parameters(), "teacher");
    const auto& shape = this->teacher_model->shape();
    auto pass = this->teacher_model->make_pass(Keep::nothing);
    this->teacher_model->forward(this->context, prefix_widths<T>(shape, full_spec(shape)),
                                 this->tokens, pass);
    this->teacher_hidden = clone(pass.hidden);
  }
  void expect_gradients(const std::string& group, double tol) {
    for (const auto& p : this->model.parameters())
      EXPECT_TRUE(near(p.gradient, to_host(fixture().vector<T>(group + "/" + p.info.name)), tol))
          << p.info.name;
  }
};

template <class T>
void check_model(index_t chunk) {
  const double tol = tolerance<T>(400);
  FixtureProblem<T> problem(chunk);
  const auto widths = problem.full_widths();
  EXPECT_TRUE(near(problem.logits(widths), fixture().matrix<T>("logits"), tol));

  const double ce = fixture().scalar("cross_entropy"), kl = fixture().scalar("kl");
  EXPECT_NEAR(problem.differentiate(widths).cross_entropy, ce, tol * ce);
  problem.expect_gradients("cross_entropy_gradient", tol);

  problem.load_teacher();
  problem.config = {.cross_entropy_weight = 0, .distillation_weight = 1, .temperature = 2};
  EXPECT_NEAR(problem.differentiate(widths).kl, kl, tol * kl);
  problem.expect_gradients("kl_gradient", tol);
}

TEST(ModelFixture, LogitsLossesAndGradientsOfPyTorch) {
  for (const index_t chunk : {2, 64}) {
    check_model<double>(chunk);
    check_model<float>(chunk);
  }
}

TEST(ModelFixture, DamageIsSeen) {
  FixtureProblem<double> problem(64);
  auto widths = problem.full_widths();
  widths.norm.params.epsilon *= 1.01;
  EXPECT_FALSE(
      near(problem.logits(widths), fixture().matrix<double>("logits"), tolerance<double>(400)));
}

}  // namespace
}  // namespace elastic::test
