// SPDX-License-Identifier: Apache-2.0
// The residual stack: its equation layer by layer, dropped layers, gates, what is kept, and when
// gradients are complete.
#include "model/hybrid_stack.hpp"

#include "elastic/soft_widths.hpp"
#include "unit_tests/model/model_problem.hpp"

namespace elastic::test {
namespace {

/// A stack on a random stream of B = 2 sequences of L = 9.
template <class T>
struct StackProblem {
  explicit StackProblem(const ModelShape& shape = small_parent())
      : shape(shape), stack(shape, {}, store) {
    store.allocate(true);
    randomize(store, 51, 0.5);
    context = {.exec = {}, .arena = &arena, .batch = 2, .seq_length = 9, .segment = {}};
  }
  View2<T> stream(index_t width) const { return random_matrix<T>(18, width, 61); }
  /// h after the layers.
  View2<T> forward(const ActiveWidths<T>& widths, const StackObserver<T>& observer = {}) {
    const Arena::Scope scope(arena);
    const auto h = stream(widths.hidden);
    auto entries = stack.make_entries();
    stack.forward(context, widths, observer ? Keep::everything : Keep::nothing, h, entries,
                  observer);
    return h;
  }
  /// dh before the layers.
  View2<T> differentiate(const ActiveWidths<T>& widths, Keep keep,
                         const GradientsComplete& complete = {}) {
    const Arena::Scope scope(arena);
    zero_gradients(store);
    const auto h = stream(widths.hidden), dh = random_matrix<T>(18, widths.hidden, 62);
    auto entries = stack.make_entries();
    stack.forward(context, widths, keep, h, entries);
    stack.backward(context, widths, keep, dh, entries, complete);
    return dh;
  }

  ModelShape shape;
  ParameterStore<T> store;
  HybridStack<T> stack;
  Arena arena;
  LayerContext context;
};

/// RMSNorm(m h) of each row, in double.
std::vector<double> norm_of(const std::vector<double>& h, const std::vector<double>& weight,
                            const std::vector<double>& mask, const kernels::RmsNormParams& params) {
  const std::size_t width = weight.size();
  std::vector<double> out(h.size());
  for (std::size_t begin = 0; begin < h.size(); begin += width) {
    double squares = 0;
    const auto masked = [&](std::size_t j) { return (mask.empty() ? 1 : mask[j]) * h[begin + j]; };
    for (std::size_t j = 0; j < width; ++j) squares += masked(j) * masked(j);
    const double scale = params.scale / std::sqrt(squares / params.mean_width + params.epsilon);
    for (std::size_t j = 0; j < width; ++j) out[begin + j] = scale * masked(j) * weight[j];
  }
  return out;
}

/// The equation of the stack, with the mixers themselves.
void check_equation(StackProblem<double>& problem, const ActiveWidths<double>& widths) {
  const auto actual = problem.forward(widths);
  const auto mask = to_double(widths.hidden_mask.value);
  auto h = to_double(problem.stream(widths.hidden));
  for (index_t l = 0; l < problem.stack.num_layers(); ++l) {
    const auto& active = widths.layers[static_cast<std::size_t>(l)];
    if (!active.active) continue;
    const auto weight = to_double(prefix(problem.stack.norm(l).value_vector(), widths.hidden));
    const auto u = to_device(norm_of(h, weight, mask, widths.norm.params), 18, widths.hidden);
    const View2<double> y("elastic::test::y", 18, widths.hidden);
    const auto saved = problem.stack.layer(l).make_saved();
    problem.stack.layer(l).forward(problem.context, active, u, y, *saved);
    const auto out = to_host(y);
    for (std::size_t i = 0; i < h.size(); ++i)
      h[i] += active.gamma * (mask.empty() ? 1 : mask[i % weight.size()]) * out[i];
  }
  EXPECT_TRUE(near(actual, h, tolerance<double>(200)));
}

TEST(HybridStack, FollowsItsEquation) {
  StackProblem<double> problem;
  check_equation(problem, prefix_widths<double>(problem.shape, full_spec(problem.shape)));
  check_equation(problem, prefix_widths<double>(problem.shape, narrow_small_spec()));
  SoftWidths<double> soft(problem.shape, small_space(true));
  Draw draw(3);
  check_equation(problem, soft.set({}, random_probabilities(draw, soft.decisions())));
}

TEST(HybridStack, DroppedLayersAreNotComputed) {
  StackProblem<float> problem;
  auto spec = full_spec(problem.shape);
  spec.layers[1].keep = spec.layers[3].keep = false;
  for (const auto& p : problem.store)
    if (p.info.layer == 1 || p.info.layer == 3)
      Kokkos::deep_copy(p.value, std::numeric_limits<float>::quiet_NaN());
  std::vector<index_t> seen;
  const auto widths = prefix_widths<float>(problem.shape, spec);
  const auto h =
      problem.forward(widths, [&](index_t l, const StackEntry<float>&) { seen.push_back(l); });
  EXPECT_EQ(seen, (std::vector<index_t>{0, 2, 4}));
  for (const float x : to_host(h)) ASSERT_TRUE(std::isfinite(x));
  problem.differentiate(widths, Keep::everything);
  for (const auto& p : problem.store)
    if (p.info.layer == 1 || p.info.layer == 3) {
      for (const float g : to_host(p.gradient)) ASSERT_EQ(g, 0) << p.info.name;
    }
}

TEST(HybridStack, AGateOfZeroIsADroppedLayer) {
  StackProblem<double> problem;
  auto spec = full_spec(problem.shape);
  spec.layers[2].keep = false;
  auto gated = prefix_widths<double>(problem.shape, full_spec(problem.shape));
  gated.layers[2].gamma = 0;
  EXPECT_TRUE(near(problem.forward(gated),
                   to_host(problem.forward(prefix_widths<double>(problem.shape, spec))), 0));
}

TEST(HybridStack, RecomputationGivesTheSameBits) {
  StackProblem<float> problem;
  for (const auto& spec : {full_spec(problem.shape), narrow_small_spec()}) {
    const auto widths = prefix_widths<float>(problem.shape, spec);
    const auto dh = to_host(problem.differentiate(widths, Keep::everything)),
               gradients = to_host(problem.store.gradients());
    EXPECT_TRUE(bitwise_equal(problem.differentiate(widths, Keep::inputs), dh));
    EXPECT_TRUE(bitwise_equal(problem.store.gradients(), gradients));
  }
}

TEST(HybridStack, BackwardNeedsWhatForwardKept) {
  StackProblem<float> problem;
  const auto widths = prefix_widths<float>(problem.shape, full_spec(problem.shape));
  EXPECT_THROW(problem.differentiate(widths, Keep::nothing), ContractError);
}

TEST(HybridStack, GradientsAreCompleteFromTheEndOn) {
  StackProblem<float> problem;
  const auto widths = prefix_widths<float>(problem.shape, full_spec(problem.shape));
  std::vector<index_t> offsets;
  std::vector<std::vector<float>> complete;
  problem.differentiate(widths, Keep::everything, [&](index_t offset) {
    offsets.push_back(offset);
    complete.push_back(to_host(problem.store.gradients()));
  });
  ASSERT_EQ(offsets.size(), 5u);
  EXPECT_TRUE(std::is_sorted(offsets.rbegin(), offsets.rend()));
  EXPECT_EQ(offsets.back(), problem.stack.norm(0).offset);
  const auto final = to_host(problem.store.gradients());
  for (std::size_t i = 0; i < offsets.size(); ++i)
    for (std::size_t j = static_cast<std::size_t>(offsets[i]); j < final.size(); ++j)
      ASSERT_EQ(complete[i][j], final[j]) << "element " << j << " after " << i << " layers";
}

}  // namespace
}  // namespace elastic::test
