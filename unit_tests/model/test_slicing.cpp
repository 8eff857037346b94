// SPDX-License-Identifier: Apache-2.0
// The defining test of the project: masked = prefix = physically cut, for random parents and
// submodels, forward and backward.
#include "model/slicing.hpp"

#include "elastic/cost_model.hpp"
#include "unit_tests/model/model_problem.hpp"

namespace elastic::test {
namespace {

template <class T>
ModelProblem<T> make_problem(const ModelShape& shape) {
  return ModelProblem<T>(shape, 2, {5, 1, 6});
}

/// A problem for the submodel as a model of its own.
template <class T>
struct SlicedProblem : ModelProblem<T> {
  SlicedProblem(const LanguageModel<T>& parent, const SubmodelSpec& spec)
      : ModelProblem<T>(sliced_shape(parent.shape(), spec), 2, {5, 1, 6}) {
    const auto sliced = slice_model(parent, spec);
    copy_values(sliced->parameters(), this->model.parameters());
  }
};

/// Gradients on the submodel are those of the sliced model; elsewhere zero.
template <class T>
void expect_sliced_gradients(const LanguageModel<T>& parent, const SubmodelSpec& spec,
                             const LanguageModel<T>& sliced, double tol, bool bitwise) {
  for (const auto& p : parent.parameters()) {
    const auto parts = partition(parent.shape(), spec, p.info, p.gradient);
    for (const auto g : parts.left) ASSERT_EQ(g, 0) << p.info.name;
    const auto name = sliced_name(p.info, spec);
    if (name.empty()) continue;
    const auto expected = to_host(sliced.parameters().find(name)->gradient);
    EXPECT_TRUE(bitwise ? bitwise_equal(parts.kept, expected) : near(parts.kept, expected, tol))
        << p.info.name;
  }
}

template <class T>
void check_three_ways(const ModelShape& shape, const SubmodelSpec& spec, bool bitwise) {
  SCOPED_TRACE(shape.pattern() + ": " + describe(shape, spec));
  auto problem = make_problem<T>(shape);
  SlicedProblem<T> sliced(problem.model, spec);
  problem.context.deterministic = sliced.context.deterministic = bitwise;
  const auto prefixed = prefix_widths<T>(shape, spec), masked = masked_widths<T>(shape, spec),
             own = sliced.full_widths();
  const double tol = model_tolerance<T>(500);

  const auto expected = sliced.logits(own);
  EXPECT_TRUE(near(problem.logits(masked), expected, tol));
  EXPECT_TRUE(near(problem.logits(prefixed), expected, tol));
  if (bitwise) {
    EXPECT_TRUE(bitwise_equal(problem.logits(prefixed), expected));
  }

  sliced.differentiate(own);
  problem.differentiate(masked);
  expect_sliced_gradients(problem.model, spec, sliced.model, tol, false);
  problem.differentiate(prefixed);
  expect_sliced_gradients(problem.model, spec, sliced.model, tol, bitwise);
}

template <class T>
void check_random_submodels() {
  for (std::uint64_t seed = 0; seed < 25; ++seed) {
    Draw draw(300 + seed);
    const auto shape = random_parent(draw);
    check_three_ways<T>(shape, random_spec(draw, shape), false);
  }
}

TEST(Slicing, MaskedPrefixAndSlicedAgreeInDouble) { check_random_submodels<double>(); }
TEST(Slicing, MaskedPrefixAndSlicedAgreeInFloat) { check_random_submodels<float>(); }

TEST(Slicing, MaskedPrefixAndSlicedAgreeInBfloat16) { check_random_submodels<bfloat16>(); }

TEST(Slicing, PrefixIsBitwiseTheSlicedModel) {
  for (std::uint64_t seed = 0; seed < 25; ++seed) {
    Draw draw(400 + seed);
    const auto shape = random_parent(draw);
    const auto spec = random_spec(draw, shape);
    check_three_ways<float>(shape, spec, true);
    check_three_ways<bfloat16>(shape, spec, true);
  }
}

template <class T>
void check_reads(std::uint64_t seed) {
  Draw draw(seed);
  const auto shape = random_parent(draw);
  const auto spec = random_spec(draw, shape);
  auto clean = make_problem<T>(shape), poisoned = make_problem<T>(shape);
  poison_the_rest(shape, spec, poisoned.model.parameters());
  const auto widths = prefix_widths<T>(shape, spec);
  EXPECT_TRUE(bitwise_equal(poisoned.logits(widths), clean.logits(widths)));
  clean.differentiate(widths);
  poisoned.differentiate(widths);
  EXPECT_TRUE(
      bitwise_equal(poisoned.model.parameters().gradients(), clean.model.parameters().gradients()));
}
TEST(Slicing, NothingOutsideTheSubmodelIsRead) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    check_reads<float>(500 + seed);
    check_reads<bfloat16>(500 + seed);
  }
}

TEST(Slicing, ModelHasTheParametersThatTheCostModelCounts) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Draw draw(600 + seed);
    const auto shape = random_parent(draw);
    const auto spec = random_spec(draw, shape);
    const LanguageModel<float> parent(shape, true);
    const auto sliced = slice_model(parent, spec);
    EXPECT_EQ(static_cast<double>(sliced->parameters().num_elements()),
              parameter_count(shape, expected_widths(spec)));
    EXPECT_EQ(sliced->parameters().gradients().size(), 0u) << "frozen";
    EXPECT_GT(slice_model(parent, spec, false)->parameters().gradients().size(), 0u);
  }
}

/// Cutting in two steps is cutting once: submodels are nested.
template <class T>
void check_nesting() {
  const auto shape = small_parent();
  const auto outer = narrow_small_spec();
  auto inner = outer;
  inner.hidden_size = 5;
  inner.layers = {{2, 2, true}, {7, 1, false}, {2, 3, false}, {2, 1, true}, {3, 1, true}};
  SubmodelSpec inner_of_outer = inner;
  inner_of_outer.layers = {{2, 2, true}, {2, 3, false}, {2, 1, true}, {3, 1, true}};
  LanguageModel<T> parent(shape, true);
  randomize(parent.parameters(), 5);
  const auto twice = slice_model(*slice_model(parent, outer), inner_of_outer);
  const auto once = slice_model(parent, inner);
  EXPECT_EQ(twice->shape(), once->shape());
  EXPECT_TRUE(bitwise_equal(twice->parameters().values(), once->parameters().values()));
  EXPECT_TRUE(bitwise_equal(twice->parameters().exact_values(), once->parameters().exact_values()));
}
TEST(Slicing, SubmodelsAreNested) {
  check_nesting<float>();
  check_nesting<bfloat16>();
}

TEST(Slicing, LayersAreRenumbered) {
  const auto spec = narrow_small_spec();
  EXPECT_EQ(kept_layers(spec), (std::vector<index_t>{0, 2, 3, 4}));
  EXPECT_EQ(sliced_name({.name = "layers.3.norm.weight", .layer = 3}, spec),
            "layers.2.norm.weight");
  EXPECT_EQ(sliced_name({.name = "layers.1.norm.weight", .layer = 1}, spec), "");
  EXPECT_EQ(sliced_name({.name = "output_layer"}, spec), "output_layer");
}

TEST(Slicing, SpecsThatDoNotFitAreRefused) {
  const LanguageModel<float> parent(small_parent(), true);
  auto spec = full_spec(small_parent());
  spec.hidden_size = 13;
  EXPECT_THROW(slice_model(parent, spec), InputError);
}

template <class T>
void check_ranking(std::uint64_t seed) {
  Draw draw(seed);
  const auto shape = random_parent(draw);
  ImportanceScores scores;
  for (index_t j = 0; j < shape.hidden_size; ++j) scores.hidden.push_back(draw.uniform());
  for (const auto& layer : shape.layers) {
    auto& list = scores.squares.emplace_back();
    for (index_t i = 0; i < layer.inner(); ++i) list.push_back(draw.uniform());
  }
  auto problem = make_problem<T>(shape);
  const auto before = problem.logits(problem.full_widths());
  const auto values = to_host(problem.model.parameters().values());
  const auto exact = to_host(problem.model.parameters().exact_values());
  const auto ranking = rank_parent(shape, scores, 2);
  apply_ranking(shape, ranking, problem.model.parameters());
  EXPECT_FALSE(bitwise_equal(problem.model.parameters().values(), to_device(values)))
      << "nothing moved";
  EXPECT_TRUE(near(problem.logits(problem.full_widths()), before, model_tolerance<T>(300)))
      << shape.pattern();
  apply_ranking(shape, inverse(ranking), problem.model.parameters());
  EXPECT_TRUE(bitwise_equal(problem.model.parameters().values(), to_device(values)));
  EXPECT_TRUE(bitwise_equal(problem.model.parameters().exact_values(), to_device(exact)));
}

TEST(Slicing, RankingLeavesTheLogits) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    check_ranking<bfloat16>(800 + seed);
    check_ranking<float>(800 + seed);
    check_ranking<double>(800 + seed);
  }
}

TEST(Slicing, OrdersAcrossGroupsAreAnotherModel) {
  // A head that leaves its group reads other keys and values, or other B and C: what ranking must
  // never do, since the ranked parent is the teacher.
  for (const std::size_t l : {std::size_t{0}, std::size_t{2}}) {
    auto problem = make_problem<double>(small_parent());
    const auto before = problem.logits(problem.full_widths());
    Ranking inside = identity_ranking(small_parent()), across = inside;
    const auto groups = static_cast<std::size_t>(small_parent().layers[l].num_groups);
    ASSERT_GT(groups, 1u);
    ASSERT_GT(inside.units[l].size(), groups);
    std::swap(inside.units[l][0], inside.units[l][groups]);
    apply_ranking(small_parent(), inside, problem.model.parameters());
    EXPECT_TRUE(near(problem.logits(problem.full_widths()), before, tolerance<double>(300)));
    apply_ranking(small_parent(), inverse(inside), problem.model.parameters());
    std::swap(across.units[l][0], across.units[l][1]);
    apply_ranking(small_parent(), across, problem.model.parameters());
    EXPECT_FALSE(near(problem.logits(problem.full_widths()), before, 1e-4)) << "layer " << l;
  }
}

}  // namespace
}  // namespace elastic::test
