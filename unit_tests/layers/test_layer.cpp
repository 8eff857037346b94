// SPDX-License-Identifier: Apache-2.0
// What every mixer must do, whatever it computes: follow its equation on any submodel, add to
// gradients, repeat its bits, give memory back, read nothing outside its submodel.
#include "layers/layer.hpp"

#include <array>

#include "unit_tests/layers/layer_problem.hpp"
#include "unit_tests/layers/reference_mixers.hpp"

namespace elastic::test {
namespace {

const std::array<std::string, 3> all_kinds = {"M", "*", "-"};

/// body(shape, spec) for every kind, whole and cut.
template <class Body>
void for_each_layer(const Body& body) {
  for (const auto& kind : all_kinds) {
    const auto shape = one_layer(kind);
    for (const auto& spec : {full_spec(shape), narrow_spec(shape)}) {
      SCOPED_TRACE(describe(shape, spec));
      body(shape, spec);
    }
  }
}

template <class T>
void check_equation(const ModelShape& shape, const SubmodelSpec& spec, bool segments, bool soft) {
  SCOPED_TRACE(fmt::format("segments {}, soft {}", segments, soft));
  LayerProblem<T> problem(shape, spec.hidden_size, segments);
  auto active = prefix_widths<T>(shape, spec).layers[0];
  if (soft) soften(shape, active);
  problem.loss(active);
  ReferenceMixer reference(shape, problem.store);
  const auto expected =
      reference.forward(active, to_double(problem.u), spec.hidden_size, problem.context.seq_length,
                        to_host(problem.context.segment));
  EXPECT_TRUE(near(problem.y, expected, layer_tolerance<T>(200)));
}

TEST(Layer, FollowsItsEquation) {
  for_each_layer([](const ModelShape& shape, const SubmodelSpec& spec) {
    for (const bool segments : {false, true})
      for (const bool soft : {false, true}) {
        check_equation<bfloat16>(shape, spec, segments, soft);
        check_equation<float>(shape, spec, segments, soft);
        check_equation<double>(shape, spec, segments, soft);
      }
  });
}

/// A layer on bfloat16 against one in double on the same rounded numbers.
void check_narrow_gradients(const ModelShape& shape, const SubmodelSpec& spec, bool soft) {
  LayerProblem<bfloat16> problem(shape, spec.hidden_size, true);
  LayerProblem<double> reference(shape, spec.hidden_size, true);
  assign_values(reference.store, problem.store);
  reference.u = stored_as<double>(problem.u);
  reference.c = stored_as<double>(problem.c);
  auto active = prefix_widths<bfloat16>(shape, spec).layers[0];
  auto exact = prefix_widths<double>(shape, spec).layers[0];
  if (soft) {
    soften(shape, active);
    soften(shape, exact);
  }
  problem.differentiate(active);
  reference.differentiate(exact);
  const double tol = layer_tolerance<bfloat16>(200);
  EXPECT_TRUE(near(problem.y, to_host(reference.y), tol));
  EXPECT_TRUE(near(problem.du, to_host(reference.du), tol));
  for (index_t i = 0; i < problem.store.size(); ++i)
    EXPECT_TRUE(near(problem.store[i].gradient, to_host(reference.store[i].gradient), tol))
        << problem.store[i].info.name;
  EXPECT_TRUE(near(active.inner.gradient, to_host(exact.inner.gradient), tol));
  EXPECT_TRUE(near(active.heads.gradient, to_host(exact.heads.gradient), tol));
  EXPECT_TRUE(near(active.gated_norm.dscale, to_host(exact.gated_norm.dscale), tol));
}

TEST(Layer, OnBfloat16ItsGradientsAreThoseInDouble) {
  for_each_layer([](const ModelShape& shape, const SubmodelSpec& spec) {
    for (const bool soft : {false, true}) check_narrow_gradients(shape, spec, soft);
  });
}

TEST(Layer, AddsToGradients) {
  for_each_layer([](const ModelShape& shape, const SubmodelSpec& spec) {
    LayerProblem<double> problem(shape, spec.hidden_size, true);
    auto active = prefix_widths<double>(shape, spec).layers[0];
    soften(shape, active);
    problem.differentiate(active);
    const auto once = to_host(problem.store.gradients()),
               mask_once = to_host(active.inner.gradient), du = to_host(problem.du);
    const auto saved = problem.layer->make_saved();
    problem.layer->forward(problem.context, active, problem.u, problem.y, *saved);
    problem.layer->backward(problem.context, active, problem.c, problem.u, *saved, problem.du);
    const auto doubled = [](std::vector<double> values) {
      for (double& x : values) x *= 2;
      return values;
    };
    EXPECT_TRUE(near(problem.store.gradients(), doubled(once), tolerance<double>(50)));
    EXPECT_TRUE(near(active.inner.gradient, doubled(mask_once), tolerance<double>(50)));
    EXPECT_TRUE(near(problem.du, du, tolerance<double>(50))) << "du is overwritten";
  });
}

template <class T>
void check_repetition(const ModelShape& shape, const SubmodelSpec& spec) {
  LayerProblem<T> problem(shape, spec.hidden_size, true), again(shape, spec.hidden_size, true);
  const auto active = prefix_widths<T>(shape, spec).layers[0];
  problem.differentiate(active);
  again.arena.template vector<T>(1000);  // other memory, other contents
  again.differentiate(active);
  EXPECT_TRUE(bitwise_equal(again.y, problem.y));
  EXPECT_TRUE(bitwise_equal(again.du, problem.du));
  EXPECT_TRUE(bitwise_equal(again.store.gradients(), problem.store.gradients()));
}
TEST(Layer, RepeatsItsBits) {
  for_each_layer([](const ModelShape& shape, const SubmodelSpec& spec) {
    check_repetition<bfloat16>(shape, spec);
    check_repetition<float>(shape, spec);
  });
}

TEST(Layer, BackwardGivesBackItsMemory) {
  for_each_layer([](const ModelShape& shape, const SubmodelSpec& spec) {
    LayerProblem<float> problem(shape, spec.hidden_size, false);
    const auto active = prefix_widths<float>(shape, spec).layers[0];
    const auto saved = problem.layer->make_saved();
    problem.layer->forward(problem.context, active, problem.u, problem.y, *saved);
    const auto before = problem.arena.mark();
    problem.layer->backward(problem.context, active, problem.c, problem.u, *saved, problem.du);
    EXPECT_EQ(problem.arena.mark().block, before.block);
    EXPECT_EQ(problem.arena.mark().used, before.used);
  });
}

template <class T>
void check_reads(const ModelShape& shape, const SubmodelSpec& spec) {
  LayerProblem<T> problem(shape, spec.hidden_size, true), poisoned(shape, spec.hidden_size, true);
  poison_the_rest(shape, spec, poisoned.store);
  const auto active = prefix_widths<T>(shape, spec).layers[0];
  problem.differentiate(active);
  poisoned.differentiate(active);
  EXPECT_TRUE(bitwise_equal(poisoned.y, problem.y));
  EXPECT_TRUE(bitwise_equal(poisoned.du, problem.du));
  EXPECT_TRUE(bitwise_equal(poisoned.store.gradients(), problem.store.gradients()));
}
TEST(Layer, ReadsNothingOutsideItsSubmodel) {
  for_each_layer([](const ModelShape& shape, const SubmodelSpec& spec) {
    check_reads<bfloat16>(shape, spec);
    check_reads<float>(shape, spec);
  });
}

/// Sets the mask of unit 1 to zero in `active`, whose masks are soft.
void mask_one_unit(const ModelShape& shape, const LayerActive<double>& active) {
  const index_t channels = shape.layers[0].kind == LayerKind::mamba ? active.head_channels : 1;
  Kokkos::deep_copy(Kokkos::subview(active.inner.value, Range(channels, 2 * channels)), 0.0);
  if (active.heads.value.size() > 0)
    Kokkos::deep_copy(Kokkos::subview(active.heads.value, Range(1, 2)), 0.0);
}

/// Unit 1 of what follows an elastic dimension of the layer, in rows or columns of a tensor.
template <class Change>
void change_unit(const ModelShape& shape, const ParameterStore<double>& store,
                 const Change& change) {
  const auto& layer = shape.layers[0];
  for (const auto& p : store) {
    const auto size_of = [&](Dim dim) -> index_t {
      if (dim == Dim::mamba_heads || dim == Dim::ffn) return 1;
      return dim == Dim::mamba_inner || dim == Dim::attention_inner ? layer.head_channels : 0;
    };
    const index_t row = size_of(p.info.row_dim), column = size_of(p.info.column_dim);
    auto values = to_host(p.value);
    for (index_t r = 0; r < p.rows; ++r)
      for (index_t c = 0; c < p.columns; ++c)
        if ((row > 0 && r / row == 1) || (column > 0 && c / column == 1))
          change(values[r * p.columns + c]);
    assign(p.value, values);
  }
}

TEST(Layer, MaskedUnitsContributeNothing) {
  for (const auto& kind : all_kinds) {
    SCOPED_TRACE(kind);
    const auto shape = one_layer(kind);
    LayerProblem<double> problem(shape, 7, true), other(shape, 7, true);
    auto active = prefix_widths<double>(shape, full_spec(shape)).layers[0];
    soften(shape, active);
    problem.loss(active);
    other.loss(active);
    EXPECT_TRUE(bitwise_equal(other.y, problem.y));
    mask_one_unit(shape, active);
    problem.differentiate(active);
    change_unit(shape, other.store, [](double& x) { x = 1.5 - x; });
    other.differentiate(active);
    EXPECT_TRUE(bitwise_equal(other.y, problem.y));
    EXPECT_TRUE(bitwise_equal(other.du, problem.du));
    const auto unmasked = prefix_widths<double>(shape, full_spec(shape)).layers[0];
    problem.loss(unmasked);
    other.loss(unmasked);
    EXPECT_FALSE(bitwise_equal(other.y, problem.y)) << "the change is seen without the mask";
  }
}

/// Keeps what was taken, block after block.
class RecordedSums final : public BlockSums {
 public:
  using BlockSums::take;
  void take(const View1<double>& gradient) override {
    if (gradient.size() == 0) return;
    taken[gradient.data()].push_back(to_host(gradient));
    Kokkos::deep_copy(gradient, 0.0);
  }
  std::map<const double*, std::vector<std::vector<double>>> taken;
};

TEST(Layer, GivesEveryGradientAwayAtTheEndOfItsBlock) {
  for_each_layer([](const ModelShape& shape, const SubmodelSpec& spec) {
    LayerProblem<double> problem(shape, spec.hidden_size, true),
        plain(shape, spec.hidden_size, true);
    auto active = prefix_widths<double>(shape, spec).layers[0];
    soften(shape, active);
    RecordedSums sums;
    problem.context.sums = &sums;
    problem.differentiate(active);
    plain.differentiate(active);
    for (const double left : to_host(problem.store.gradients())) ASSERT_EQ(left, 0.0);
    for (index_t i = 0; i < problem.store.size(); ++i) {
      const auto& parts = sums.taken[problem.store[i].gradient.data()];
      ASSERT_FALSE(parts.empty()) << problem.store[i].info.name;
      std::vector<double> sum(parts[0].size());
      for (const auto& part : parts)
        for (std::size_t j = 0; j < sum.size(); ++j) sum[j] += part[j];
      EXPECT_TRUE(near(sum, to_host(plain.store[i].gradient), tolerance<double>(20)))
          << problem.store[i].info.name;
    }
    EXPECT_FALSE(sums.taken[active.inner.gradient.data()].empty());
  });
}

TEST(Layer, SumsOfAPrecisionThatIsNotKeptAreRefused) {
  RecordedSums sums;
  LayerContext context;
  const View1<float> gradient("elastic::test::gradient", 3);
  EXPECT_NO_THROW(close_block<float>(context, {gradient}));
  context.sums = &sums;
  EXPECT_THROW(close_block<float>(context, {gradient}), ContractError);
}

TEST(LayerContext, IsOneBlockUnlessSpansAreLaidOutInTurn) {
  LayerContext context{.exec = {}, .arena = nullptr, .batch = 3, .seq_length = 5, .segment = {}};
  EXPECT_EQ(context.num_tokens(), 15);
  EXPECT_EQ(context.num_blocks(), 1);
  const auto self = Communicator::self();
  const Spans balanced(self, SpanLayout::balanced({}), 3), fixed(self, SpanLayout::fixed({}), 3);
  context.spans = &balanced;
  EXPECT_EQ(context.num_blocks(), 1);
  context.spans = &fixed;
  EXPECT_EQ(context.num_blocks(), sum_classes);
  std::vector<index_t> numbers;
  for_each_block(context, [&](const TokenBlock& block) {
    EXPECT_EQ(block.count, sum_classes);
    numbers.push_back(block.number);
  });
  EXPECT_EQ(numbers, (std::vector<index_t>{0, 1, 2, 3, 4, 5, 6, 7}));
}

}  // namespace
}  // namespace elastic::test
