// SPDX-License-Identifier: Apache-2.0
// A kind that only the tests know passes through everything: cost, plan, ranking, masks, slicing,
// training, checkpoints, names of Hugging Face; masked = prefix = cut.
#include "unit_tests/arch/gated_mlp.hpp"

#include "elastic/cost_model.hpp"
#include "interop/hf_mapping.hpp"
#include "model/slicing.hpp"
#include "plan/memory.hpp"
#include "plan/messages.hpp"
#include "plan/passes.hpp"
#include "plan/run_plan.hpp"
#include "plan/work.hpp"
#include "base/region.hpp"
#include "train/train_step.hpp"
#include "unit_tests/arch/kind_checks.hpp"
#include "unit_tests/layers/layer_problem.hpp"
#include "unit_tests/model/model_problem.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;

/// Every test starts with a program that knows the kind.
class GatedMlpKind : public InFolder {
 protected:
  void SetUp() override {
    InFolder::SetUp();
    add_gated_mlp();
  }
};

/// D = 7, F = 9.
ModelShape one_gated_layer() {
  auto shape = one_layer("-");
  shape.layers[0].kind = gated_mlp_symbol;
  return shape;
}
/// All kinds; the MLP and the gated one have F = 10 and share the axis of ffn.
ModelShape mixed_parent() {
  auto shape = smooth(small_shape("GM*-G"));
  for (auto& layer : shape.layers)
    if (layer.symbol() == 'G' || layer.symbol() == '-') layer.width = 10;
  shape.layers[0].kind = shape.layers[4].kind = gated_mlp_symbol;
  return shape;
}
SubmodelSpec narrow_mixed_spec() {
  auto spec = full_spec(mixed_parent());
  spec.hidden_size = 9;
  spec.layers = {{4, 1}, {4, 3}, {2, 3}, {7, 1, false}, {9, 1}};
  return spec;
}

TEST_F(GatedMlpKind, DescriptionFitsTogether) {
  check_kind(*find_layer_kind('G'));
  EXPECT_THAT(list_layer_kinds(), HasSubstr("or G (gated MLP)"));
}

TEST_F(GatedMlpKind, EquationAsALoop) {
  const auto shape = one_gated_layer();
  LayerProblem<double> problem(shape, 7, false);
  problem.loss(prefix_widths<double>(shape, full_spec(shape)).layers[0]);
  const auto gate = to_host(problem.store[0].value), up = to_host(problem.store[1].value),
             down = to_host(problem.store[2].value), u = to_host(problem.u);
  std::vector<double> expected(22 * 7, 0.0);
  for (index_t t = 0; t < 22; ++t)
    for (index_t f = 0; f < 9; ++f) {
      double g = 0, v = 0;
      for (index_t d = 0; d < 7; ++d) {
        g += gate[f * 7 + d] * u[t * 7 + d];
        v += up[f * 7 + d] * u[t * 7 + d];
      }
      for (index_t d = 0; d < 7; ++d)
        expected[t * 7 + d] += down[d * 9 + f] * g / (1 + std::exp(-g)) * v;
    }
  EXPECT_TRUE(near(to_host(problem.y), expected, tolerance<double>(50)));
}

TEST_F(GatedMlpKind, GradientsAgainstFiniteDifferences) {
  const auto shape = one_gated_layer();
  auto narrow = full_spec(shape);
  narrow.hidden_size = 5;
  narrow.layers[0].width = 4;
  for (const auto& spec : {full_spec(shape), narrow})
    for (const bool soft : {false, true}) check_gradients(shape, spec, false, soft);
}

TEST_F(GatedMlpKind, MaskedPrefixAndSlicedLayersAgree) {
  const auto shape = one_gated_layer();
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    Draw draw(seed);
    check_three_ways<float>(shape, random_spec(draw, shape), false, seed % 2 == 0);
    check_three_ways<double>(shape, random_spec(draw, shape), true, seed % 2 == 1);
  }
}

TEST_F(GatedMlpKind, StepsGiveTheWholeSequence) {
  const auto shape = one_gated_layer();
  auto spec = full_spec(shape);
  check_extends<double>(shape, spec);
  check_history<double>(shape, spec);
  spec.layers[0].width = 4;
  check_narrowing<double>(shape, spec);
}

TEST_F(GatedMlpKind, MaskedPrefixAndSlicedModelsAgree) {
  const auto shape = mixed_parent();
  const auto spec = narrow_mixed_spec();
  ModelProblem<double> problem(shape, 2, {5, 1, 6});
  ModelProblem<double> sliced(sliced_shape(shape, spec), 2, {5, 1, 6});
  EXPECT_EQ(sliced.model.shape().pattern(), "GM*G");
  Kokkos::deep_copy(sliced.model.parameters().values(),
                    slice_model(problem.model, spec)->parameters().values());
  const auto expected = sliced.logits(sliced.full_widths());
  const double tol = tolerance<double>(500);
  EXPECT_TRUE(near(problem.logits(prefix_widths<double>(shape, spec)), expected, tol));
  EXPECT_TRUE(near(problem.logits(masked_widths<double>(shape, spec)), expected, tol));
  sliced.differentiate(sliced.full_widths());
  for (const bool masks : {false, true}) {
    problem.differentiate(masks ? masked_widths<double>(shape, spec)
                                : prefix_widths<double>(shape, spec));
    for (const auto& p : problem.model.parameters()) {
      const auto parts = partition(shape, spec, p.info, p.gradient);
      for (const double g : parts.left) ASSERT_EQ(g, 0.0) << p.info.name;
      const auto name = sliced_name(p.info, spec);
      if (!name.empty()) {
        EXPECT_TRUE(near(parts.kept, to_host(sliced.model.parameters().find(name)->gradient), tol))
            << p.info.name;
      }
    }
  }
}

TEST_F(GatedMlpKind, CostCountsWhatIsAllocatedAndComputed) {
  const auto shape = mixed_parent();
  const auto spec = narrow_mixed_spec();
  const LanguageModel<float> sliced(sliced_shape(shape, spec), true);
  EXPECT_EQ(static_cast<double>(sliced.parameters().num_elements()),
            parameter_count(shape, expected_widths(spec)));
  EXPECT_EQ(sliced.parameters().size(), num_tensors(sliced.shape()));
  ModelProblem<float> problem(shape, 2, {11});
  const double before = counted_flops();
  problem.logits(prefix_widths<float>(shape, spec));
  EXPECT_NEAR((counted_flops() - before) / 22 / forward_flops_per_token(shape, spec, 11), 1, 1e-12);
}

TEST_F(GatedMlpKind, CostGradientAgainstFiniteDifferences) {
  const auto shape = mixed_parent();
  for (const auto kind : {BudgetKind::parameters, BudgetKind::memory, BudgetKind::flops}) {
    const CostConfig config{kind, 3, 7, 1.5, 2.5, 3.5};
    ExpectedWidths widths = expected_widths(narrow_mixed_spec());
    for (auto& layer : widths.layers) layer.keep = 0.75;
    const auto gradient = cost_gradient(shape, widths, config);
    for (std::size_t l = 0; l < widths.layers.size(); ++l) {
      double& width = widths.layers[l].width;
      const double exact = width;
      width = exact + 0.5;
      const double above = cost(shape, widths, config);
      width = exact - 0.5;
      const double below = cost(shape, widths, config);
      width = exact;
      EXPECT_NEAR(above - below, gradient.layers[l].width, 1e-9 * std::abs(above)) << l;
    }
  }
}

TEST_F(GatedMlpKind, SharesTheAxisOfTheMlp) {
  const auto shape = mixed_parent();
  auto space = rigid_space(shape);
  space.ffn = {{10, 7, 2}, false};
  const auto decisions = list_decisions(shape, space);
  ASSERT_EQ(decisions.size(), 1u);
  EXPECT_EQ(decision_layers(shape, decisions[0]), (std::vector<index_t>{0, 3, 4}));
  space.ffn.per_layer = true;
  EXPECT_EQ(list_decisions(shape, space).size(), 3u);
  EXPECT_EQ(describe(shape, narrow_mixed_spec()), "hidden 9, G 4 9, M 4x3, * 2, dropped 3");
}

TEST_F(GatedMlpKind, SoftMasksHaveTheGradientOfTheLoss) {
  auto shape = mixed_parent();
  shape.norm_epsilon = 1e-24;  // its mixture has no gradient
  auto space = rigid_space(shape);
  space.ffn = {{10, 7, 2}, true};
  ModelProblem<double> problem(shape, 2, {3, 4});
  SoftWidths<double> soft(shape, space);
  Draw draw(3);
  auto pi = random_probabilities(draw, soft.decisions());
  problem.differentiate(soft.set({}, pi));
  const auto gradient = soft.through_draw(soft.gradient({}));
  for (std::size_t d = 0; d < pi.size(); ++d)
    for (std::size_t i = 0; i < pi[d].size(); ++i) {
      const double exact = pi[d][i], step = 1e-4;
      pi[d][i] = exact + step;
      const double above = problem.loss(soft.set({}, pi));
      pi[d][i] = exact - step;
      const double below = problem.loss(soft.set({}, pi));
      pi[d][i] = exact;
      EXPECT_NEAR((above - below) / (2 * step), gradient[d][i],
                  1e-5 * (std::abs(gradient[d][i]) + 1e-2));
    }
}

TEST_F(GatedMlpKind, RankingPermutesItsNeuronsAndKeepsTheLogits) {
  const auto shape = mixed_parent();
  ImportanceScores scores;
  Draw draw(5);
  for (index_t i = 0; i < shape.hidden_size; ++i) scores.hidden.push_back(draw.uniform());
  for (const auto& layer : shape.layers) {
    auto& units = scores.squares.emplace_back();
    for (index_t i = 0; i < layer.inner(); ++i) units.push_back(draw.uniform());
  }
  const auto ranking = rank_parent(shape, scores, 4);
  EXPECT_TRUE(ranking.channels[0].empty());
  for (std::size_t i = 1; i < ranking.units[0].size(); ++i)
    EXPECT_GE(scores.squares[0][ranking.units[0][i - 1]], scores.squares[0][ranking.units[0][i]]);
  ModelProblem<double> problem(shape, 2, {12});
  const auto before = problem.logits(problem.full_widths());
  apply_ranking(shape, ranking, problem.model.parameters());
  EXPECT_TRUE(near(problem.logits(problem.full_widths()), before, tolerance<double>(500)));
}

TEST_F(GatedMlpKind, PlanCountsItsWorkAndNoMessages) {
  auto with = mixed_parent(), without = mixed_parent();
  without.layers.erase(without.layers.begin());
  const PassOptions options{.seq_length = 9};
  const double d = 12, f = 10;
  EXPECT_EQ(forward_work(with, options).products - forward_work(without, options).products,
            6 * d * f);
  EXPECT_EQ(backward_work(with, options).products - backward_work(without, options).products,
            12 * d * f);
  const ContextTraffic traffic{2, 64, 2, sizeof(Real)};
  const auto a = traffic.forward(with), b = traffic.forward(without);
  EXPECT_EQ(a.all_gather.bytes, b.all_gather.bytes);
}

/// An elastic run with gated layers, from its deck on.
std::vector<std::string> gated_run() {
  return {
      "model/hybrid_layer_pattern=G-*MG", "job/phases=rank,elastic", "job/parent=p.h5",
      "elastic/choice_epsilon=0",         "stage1/seq_length=64",    "parallel/micro_batch_size=4",
      "elastic/drop_layers=0,1"};
}

TEST_F(GatedMlpKind, PlanNamesItsParameters) {
  const auto deck = small_deck(gated_run());
  EXPECT_EQ(parent_shape(deck.config).pattern(), "G-*MG");
  EXPECT_THAT(run_plan(deck, 1), HasSubstr(" gated MLP"));
}

TEST_F(GatedMlpKind, TrainingStepTakesTheWorkAndMemoryOfThePlan) {
  const auto deck = small_deck(gated_run());
  const RunConfig& config = deck.config;
  const Curriculum curriculum = make_curriculum(config);
  TrainState<Real> state = small_state(config);
  state.step = 0;
  const ProcessGrid grid(Communicator::self(), {});
  Arena arena;
  TrainStep<Real> step(grid, config, curriculum, arena);
  const auto before = to_host(state.model->parameters().values());
  const auto used = static_cast<double>(high_water(arena, [&] { step.run(state); }));
  const PlanMemory plan = plan_memory(config, state.model->shape(), 1);
  const double batch = 16.0 * 4 * 64;  // not in the arena
  EXPECT_NEAR(used / (plan.step() - batch), 1, 0.02);
  EXPECT_NE(to_host(state.model->parameters().values()), before);
}

TEST_F(GatedMlpKind, CheckpointsBringItBack) {
  const auto deck = small_deck(gated_run());
  const TrainState<Real> state = small_state(deck.config);
  const auto path = folder / "state.h5";
  {
    CheckpointWriter writer(path);
    write_state(writer, state, deck.text);
    writer.commit();
  }
  const CheckpointReader reader(path);
  EXPECT_EQ(read_shape(reader), state.model->shape());
  TrainState<Real> read = make_parent<Real>(deck.config);
  read_state(reader, deck.config, read);
  EXPECT_TRUE(bitwise_equal(read.model->parameters().values(), state.model->parameters().values()));
  EXPECT_EQ(read.elastic->ranking.units, state.elastic->ranking.units);
}

TEST_F(GatedMlpKind, NamesOfHuggingFace) {
  const auto tensors = hf_tensors(mixed_parent(), "backbone.", false);
  std::vector<std::string> names;
  for (const auto& tensor : tensors) names.push_back(tensor.name);
  EXPECT_THAT(names, testing::IsSupersetOf({"backbone.layers.0.mixer.gate_proj.weight",
                                            "backbone.layers.4.mixer.up_proj.weight",
                                            "backbone.layers.4.mixer.down_proj.weight"}));
}

TEST_F(GatedMlpKind, AKindWithoutAClassIsRefusedWithItsName) {
  LayerDescription only_described = gated_mlp_kind();
  only_described.kind = static_cast<LayerKind>('g');
  only_described.hf.types = {"only_described"};
  if (!find_layer_kind('g')) add_layer_kind(only_described);
  auto shape = one_gated_layer();
  shape.layers[0].kind = static_cast<LayerKind>('g');
  ParameterStore<float> store;
  EXPECT_THAT([&] { make_layer<float>(shape, 0, store); },
              testing::ThrowsMessage<ContractError>(HasSubstr("no class computes the kind 'g'")));
  EXPECT_THROW(add_layer_factory<float>(gated_mlp_symbol, nullptr), ContractError);
}

}  // namespace
}  // namespace elastic::test
