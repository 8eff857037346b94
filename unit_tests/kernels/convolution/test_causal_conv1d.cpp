// SPDX-License-Identifier: Apache-2.0
// The convolution against its equation, finite differences and PyTorch;
// one step at a time; what must not change it.
#include "kernels/convolution/causal_conv1d.hpp"

#include "base/error.hpp"
#include "unit_tests/kernels/scan/ssd_problem.hpp"
#include "unit_tests/support/fixture.hpp"
#include "unit_tests/support/gradient.hpp"
#include "unit_tests/kernels/contract.hpp"

using namespace elastic;
using namespace elastic::test;

namespace {
struct Shape {
  index_t batch, length, channels, width;
};
const std::vector<Shape> shapes = {{1, 1, 1, 4},   {2, 3, 5, 4}, {1, 150, 33, 4}, {3, 70, 64, 2},
                                   {2, 65, 40, 1}, {2, 9, 3, 8}, {2, 131, 300, 3}};

template <class T>
struct Problem {
  using A = Accumulate<T>;
  Shape shape;
  View2<T> u, weight, out, dout, du;
  View2<A> dweight;
  View1<T> bias;
  View1<A> mask, dbias, dmask;
  View1<token_t> segment;

  Problem(const Shape& s, bool extras) : shape(s) {
    const index_t tokens = s.batch * s.length;
    u = strided_random_matrix<T>(tokens, s.channels, s.channels + 7, 1);
    weight = random_matrix<T>(s.channels, s.width, 2);
    bias = random_vector<T>(s.channels, 3);
    dout = strided_random_matrix<T>(tokens, s.channels, s.channels + 3, 4);
    out = strided_random_matrix<T>(tokens, s.channels, s.channels + 5, 5);
    du = strided_random_matrix<T>(tokens, s.channels, s.channels + 2, 6);
    dweight = View2<A>("elastic::test::dweight", s.channels, s.width);
    dbias = View1<A>("elastic::test::dbias", s.channels);
    if (extras) {
      mask = random_vector<A>(s.channels, 7, 0.2, 1);
      dmask = View1<A>("elastic::test::dmask", s.channels);
      segment = to_device(random_segments(s.batch, s.length, 8));
    }
  }
  kernels::ConvolutionInputs<T> inputs(const kernels::ConvolutionPast<T>& past = {}) const {
    return {u, weight, bias, mask, segment, shape.length, past};
  }
  kernels::ConvolutionGradients<T> gradients() const { return {du, dweight, dbias, dmask}; }
  View2<T> forward(const kernels::ConvolutionPast<T>& past = {}) const {
    kernels::causal_conv1d_forward<T>(ExecutionSpace(), inputs(past), out);
    return out;
  }
  void backward(const kernels::ConvolutionPast<T>& past = {},
                const kernels::ConvolutionFuture<T>& future = {}) const {
    const View1<A> workspace("elastic::test::workspace",
                             kernels::causal_conv1d_workspace_size(shape.batch * shape.length,
                                                                   shape.channels, shape.width));
    Kokkos::deep_copy(workspace, std::numeric_limits<A>::quiet_NaN());
    kernels::causal_conv1d_backward<T>(ExecutionSpace(), inputs(past), dout, future, gradients(),
                                       workspace);
  }
  std::vector<double> reference() const {
    return reference_causal_conv1d(shape.length, shape.channels, shape.width, to_double(u),
                                   to_double(weight), to_double(bias), to_double(mask),
                                   to_host(segment));
  }
};

/// Leaves a problem its first channels.
template <class T>
void keep_channels(Problem<T>& problem, index_t count) {
  for (auto* view : {&problem.u, &problem.out, &problem.dout, &problem.du})
    *view = prefix(*view, view->extent(0), count);
  for (auto* view : {&problem.dbias, &problem.dmask}) *view = prefix(*view, count);
  problem.weight = prefix(problem.weight, count, 4);
  problem.dweight = prefix(problem.dweight, count, 4);
  problem.bias = prefix(problem.bias, count);
  problem.mask = prefix(problem.mask, count);
  problem.shape.channels = count;
}
/// What was computed for `few` channels has the bits that it has among more.
template <class T>
void expect_first_channels(const Problem<T>& many, const Problem<T>& few) {
  const index_t count = few.shape.channels;
  EXPECT_TRUE(bitwise_equal(prefix(many.out, many.out.extent(0), count), few.out));
  EXPECT_TRUE(bitwise_equal(prefix(many.du, many.du.extent(0), count), few.du));
  EXPECT_TRUE(bitwise_equal(prefix(many.dweight, count, 4), few.dweight));
  EXPECT_TRUE(bitwise_equal(prefix(many.dbias, count), few.dbias));
  EXPECT_TRUE(bitwise_equal(prefix(many.dmask, count), few.dmask));
}

template <class T>
class CausalConv1d : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(CausalConv1d, Scalars);

TYPED_TEST(CausalConv1d, EqualsItsEquation) {
  for (const auto& shape : shapes)
    for (const bool extras : {false, true}) {
      Problem<TypeParam> problem(shape, extras);
      EXPECT_TRUE(near(problem.forward(), problem.reference(), tolerance<TypeParam>(shape.width)));
    }
}

TYPED_TEST(CausalConv1d, StepsEqualTheSequence) {
  Problem<TypeParam> problem({1, 20, 37, 4}, false);
  const auto whole = to_host(problem.forward());
  const View2<TypeParam> state("elastic::test::state", 1, 37 * 3), out("elastic::test::out", 1, 37);
  for (index_t t = 0; t < 20; ++t) {
    kernels::causal_conv1d_step<TypeParam>(ExecutionSpace(), rows(problem.u, t, t + 1),
                                           problem.weight, problem.bias, state, out);
    const std::vector<TypeParam> expected(whole.begin() + t * 37, whole.begin() + (t + 1) * 37);
    EXPECT_TRUE(near(out, expected, tolerance<TypeParam>(4))) << "position " << t;
  }
}

TYPED_TEST(CausalConv1d, MaskedChannelsAreAsIfCut) {
  const index_t kept = 21;
  Problem<TypeParam> full({2, 70, 40, 4}, true), cut({2, 70, 40, 4}, true);
  auto mask = to_host(full.mask);
  std::fill(mask.begin() + kept, mask.end(), 0);
  assign(full.mask, mask);
  cut.mask = full.mask;
  keep_channels(cut, kept);
  full.forward(), full.backward(), cut.forward(), cut.backward();
  expect_first_channels(full, cut);
  const auto out = to_double(full.out);
  for (std::size_t i = 0; i < out.size(); ++i)
    EXPECT_TRUE(static_cast<index_t>(i % 40) < kept || out[i] == 0) << "element " << i;
}

/// Fewer channels than a vector of a host has take another body.
TYPED_TEST(CausalConv1d, FewChannelsHaveTheBitsOfMany) {
  const index_t few = 5;
  Problem<TypeParam> many({2, 70, 40, 4}, true), alone({2, 70, 40, 4}, true);
  keep_channels(alone, few);
  many.forward(), many.backward(), alone.forward(), alone.backward();
  expect_first_channels(many, alone);
}

TYPED_TEST(CausalConv1d, ADocumentDoesNotSeeTheOneBefore) {
  Problem<TypeParam> problem({1, 100, 33, 4}, false);
  std::vector<token_t> segment(100, 1);
  std::fill(segment.begin() + 40, segment.end(), 2);
  problem.segment = to_device(segment);
  problem.forward(), problem.backward();
  const auto out = to_host(rows(problem.out, 40, 100)), du = to_host(rows(problem.du, 40, 100));
  auto u = to_host(problem.u);
  for (index_t c = 0; c < 33; ++c) u[39 * 33 + c] = TypeParam(1 + widen(u[39 * 33 + c]));
  assign(problem.u, u);
  problem.forward(), problem.backward();
  EXPECT_TRUE(bitwise_equal(to_host(rows(problem.out, 40, 100)), out));
  EXPECT_TRUE(bitwise_equal(to_host(rows(problem.du, 40, 100)), du));
}

/// Every stored gradient is the fp64 result for the same (rounded) inputs, rounded once.
TYPED_TEST(CausalConv1d, GradientsEqualDoublePrecision) {
  using T = TypeParam;
  for (const auto& shape : shapes)
    for (const bool extras : {false, true}) {
      Problem<T> problem(shape, extras);
      Problem<double> exact(shape, extras);
      exact.u = stored_as<double>(problem.u);
      exact.weight = stored_as<double>(problem.weight);
      exact.bias = stored_as<double>(problem.bias);
      exact.mask = stored_as<double>(problem.mask);
      exact.dout = stored_as<double>(problem.dout);
      problem.backward(), exact.backward();
      const double tol = tolerance<T>(shape.batch * shape.length);
      EXPECT_TRUE(near(problem.du, exact.du, tolerance<T>(shape.width)));
      EXPECT_TRUE(near(problem.dweight, exact.dweight, tol));
      EXPECT_TRUE(near(problem.dbias, exact.dbias, tol));
      EXPECT_TRUE(near(problem.dmask, exact.dmask, tol));
    }
}

template <class T>
class CausalConv1dOfPyTorch : public testing::Test {};
using ExactScalars = testing::Types<float, double>;
TYPED_TEST_SUITE(CausalConv1dOfPyTorch, ExactScalars);

TYPED_TEST(CausalConv1dOfPyTorch, IsOurs) {
  const Fixture fixture("ssd.h5");
  Problem<TypeParam> problem({2, 11, 6, 4}, false);
  problem.u = fixture.matrix<TypeParam>("conv/u");
  problem.weight = fixture.matrix<TypeParam>("conv/weight");
  problem.bias = fixture.vector<TypeParam>("conv/bias");
  problem.dout = fixture.matrix<TypeParam>("conv/dout");
  problem.forward(), problem.backward();
  const double tol = tolerance<TypeParam>(32);
  EXPECT_TRUE(near(problem.out, fixture.matrix<double>("conv/out"), tol));
  EXPECT_TRUE(near(problem.du, fixture.matrix<double>("conv/du"), tol));
  EXPECT_TRUE(near(problem.dweight, fixture.matrix<double>("conv/dweight"), tol));
  EXPECT_TRUE(near(problem.dbias, fixture.vector<double>("conv/dbias"), tol));
}

TEST(CausalConv1d, GradientsEqualFiniteDifferences) {
  for (const auto& shape : shapes)
    for (const bool extras : {false, true}) {
      Problem<double> problem(shape, extras);
      const auto loss = [&] { return dot(problem.forward(), problem.dout); };
      problem.forward();
      problem.backward();
      EXPECT_LT(directional_error(loss, problem.u, problem.du), 1e-6);
      EXPECT_LT(directional_error(loss, problem.weight, problem.dweight), 1e-6);
      EXPECT_LT(directional_error(loss, problem.bias, problem.dbias), 1e-6);
      EXPECT_LT(directional_error(loss, problem.mask, problem.dmask), 1e-6);
    }
}

/// The span [begin, end) of a problem, with its own arrays.
template <class T>
Problem<T> span_of(const Problem<T>& whole, index_t begin, index_t end) {
  const index_t batch = whole.shape.batch;
  Problem<T> span({batch, end - begin, whole.shape.channels, whole.shape.width}, false);
  span.u = rows_of_sequences(whole.u, batch, begin, end);
  span.dout = rows_of_sequences(whole.dout, batch, begin, end);
  span.segment = rows_of_sequences(whole.segment, batch, begin, end);
  span.mask = whole.mask;
  span.dmask = View1<Accumulate<T>>("elastic::test::dmask", whole.mask.extent(0));
  return span;
}

/// Spans of a sequence, each with what it needs of its neighbours, give the bits of the sequence;
/// the sums of their parameter gradients are those of the sequence.
TYPED_TEST(CausalConv1d, SpansEqualTheSequence) {
  using T = TypeParam;
  using A = Accumulate<T>;
  for (const index_t width : {1, 2, 4, 8})
    for (const bool extras : {false, true}) {
      SCOPED_TRACE(fmt::format("width {} extras {}", width, extras));
      const index_t batch = 2, length = 80;
      Problem<T> whole({batch, length, 133, width}, extras);
      whole.forward(), whole.backward();
      std::vector<double> dweight(133 * width), dbias(133), dmask(extras ? 133 : 0);
      const auto add = [](std::vector<double>& sum, const std::vector<double>& part) {
        for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
      };
      const std::vector<index_t> borders = {0, 7, 16, 66, 80};
      for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
        const index_t begin = borders[i], end = borders[i + 1];
        Problem<T> span = span_of(whole, begin, end);
        const auto past_of = [&](index_t first) -> kernels::ConvolutionPast<T> {
          const index_t from = std::max<index_t>(0, first - width + 1);
          return {rows_of_sequences(whole.u, batch, from, first),
                  rows_of_sequences(whole.segment, batch, from, first)};
        };
        const auto past = past_of(begin);
        EXPECT_TRUE(bitwise_equal(clone(span.forward(past)),
                                  rows_of_sequences(whole.out, batch, begin, end)));

        kernels::ConvolutionFuture<T> future;
        if (end < length) {
          const auto next = span_of(whole, end, borders[i + 2]);
          const View2<A> dv("elastic::test::dv", batch * (width - 1), 133);
          kernels::causal_conv1d_first_gradients<T>({}, next.inputs(past_of(end)), next.dout, dv);
          future = {dv, rows_of_sequences(whole.segment, batch, end, end + width - 1)};
        }
        span.backward(past, future);
        EXPECT_TRUE(bitwise_equal(clone(span.du), rows_of_sequences(whole.du, batch, begin, end)))
            << begin;
        add(dweight, to_double(span.dweight));
        add(dbias, to_double(span.dbias));
        add(dmask, to_double(span.dmask));
      }
      const double tol = tolerance<T>(batch * length);
      EXPECT_TRUE(near(whole.dweight, dweight, tol));
      EXPECT_TRUE(near(whole.dbias, dbias, tol));
      EXPECT_TRUE(near(whole.dmask, dmask, tol));
    }
}

/// The inputs before a span have a gradient, too: that by the loss of the span alone.
TEST(CausalConv1d, GradientByThePastEqualsFiniteDifferences) {
  const index_t batch = 2, channels = 5, width = 4;
  Problem<double> before({batch, 3, channels, width}, false),
      span({batch, 9, channels, width}, false);
  Kokkos::deep_copy(before.dout, 0.0);
  const kernels::ConvolutionPast<double> past{before.u, {}};
  const View2<double> dv("elastic::test::dv", batch * 3, channels);
  const auto loss = [&] { return dot(span.forward(past), span.dout); };
  kernels::causal_conv1d_first_gradients<double>({}, span.inputs(past), span.dout, dv);
  before.backward({}, {dv, {}});
  EXPECT_LT(directional_error(loss, before.u, before.du), 1e-6);
}

TEST(CausalConv1d, ParameterGradientsAccumulateAndRepeatBitwise) {
  Problem<float> once({2, 70, 40, 4}, true), twice({2, 70, 40, 4}, true);
  once.backward(), twice.backward();
  EXPECT_TRUE(bitwise_equal(once.dweight, twice.dweight));
  EXPECT_TRUE(bitwise_equal(once.dmask, twice.dmask));
  twice.backward();
  auto doubled = to_host(once.dweight);
  for (auto& value : doubled) value *= 2;
  EXPECT_TRUE(near(twice.dweight, doubled, 1e-6));
}

TEST(CausalConv1d, WrongShapesThrow) {
  Problem<float> problem({2, 9, 3, 4}, false);
  problem.shape.length = 7;
  EXPECT_THROW(problem.forward(), ContractError);
  problem.shape.length = 9;
  const auto with_past = [&](index_t rows) {
    const View2<float> past("elastic::test::past", rows, 3);
    problem.forward({past, {}});
  };
  EXPECT_NO_THROW(with_past(6));
  EXPECT_THROW(with_past(5), ContractError);  // not the same for both sequences
  EXPECT_THROW(with_past(8), ContractError);  // more than W - 1 for each
  problem.bias = View1<float>("elastic::test::bias", 4);
  EXPECT_THROW(problem.forward(), ContractError);
}

TEST(CausalConv1d, WrongExtentsAreNamed) {
  const auto with = [](const auto& change, const std::string& text) {
    Problem<float> p({2, 9, 3, 4}, true);
    change(p);
    return refuses([&] { p.backward(); }, text);
  };
  const auto bad = random_matrix<float>(18, 5, 1);
  const auto vector = random_vector<float>(5, 1);
  EXPECT_TRUE(with([&](auto& p) { p.weight = bad; }, "weight is [18, 5], expected [3, 5]"));
  EXPECT_TRUE(
      with([&](auto& p) { p.weight = random_matrix<float>(3, 9, 1); }, "width 9 is not in [1, 8]"));
  EXPECT_TRUE(with([&](auto& p) { p.bias = vector; }, "bias is [5], expected [3]"));
  EXPECT_TRUE(with([&](auto& p) { p.mask = vector; }, "mask is [5]"));
  EXPECT_TRUE(with([&](auto& p) { p.segment = View1<token_t>("elastic::test::s", 17); },
                   "segment is [17]"));
  EXPECT_TRUE(with([&](auto& p) { p.dout = bad; }, "dout is [18, 5], expected [18, 3]"));
  EXPECT_TRUE(with([&](auto& p) { p.du = bad; }, "du is [18, 5]"));
  EXPECT_TRUE(with([&](auto& p) { p.dweight = bad; }, "dweight is [18, 5]"));
  EXPECT_TRUE(with([&](auto& p) { p.dbias = vector; }, "dbias is [5]"));
  EXPECT_TRUE(with([&](auto& p) { p.dmask = vector; }, "dmask is [5]"));
}

/// The state of a step is the last W-1 inputs, oldest first, whatever was there before.
TYPED_TEST(CausalConv1d, StepsKeepTheLastInputs) {
  using T = TypeParam;
  const index_t width = 4, channels = 3;
  const auto weight = random_matrix<T>(channels, width, 1);
  const auto bias = random_vector<T>(channels, 2);
  const auto u = random_matrix<T>(5, channels, 3);
  const View2<T> state("elastic::test::state", 1, channels * (width - 1)),
      out("elastic::test::out", 1, channels);
  for (index_t t = 0; t < 5; ++t)
    kernels::causal_conv1d_step<T>({}, rows(u, t, t + 1), weight, bias, state, out);
  const auto values = to_host(u), kept = to_host(state);
  for (index_t c = 0; c < channels; ++c)
    for (index_t j = 0; j < width - 1; ++j)
      EXPECT_EQ(kept[c * (width - 1) + j], values[(2 + j) * channels + c]) << c << " " << j;
}

TYPED_TEST(CausalConv1d, NothingBesideTheOutputsIsWritten) {
  using T = TypeParam;
  Problem<T> p({2, 70, 20, 4}, true);
  const auto out = random_matrix<T>(141, 25, 11), du = random_matrix<T>(141, 25, 12);
  const auto out_before = to_host(out), du_before = to_host(du);
  p.out = prefix(out, 140, 20);
  p.du = prefix(du, 140, 20);
  p.forward(), p.backward();
  const auto out_after = to_host(out), du_after = to_host(du);
  for (index_t i = 0; i < 141; ++i)
    for (index_t j = 0; j < 25; ++j)
      if (i == 140 || j >= 20) {
        EXPECT_EQ(out_after[i * 25 + j], out_before[i * 25 + j]);
        EXPECT_EQ(du_after[i * 25 + j], du_before[i * 25 + j]);
      }
}
}  // namespace
