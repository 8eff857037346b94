// SPDX-License-Identifier: Apache-2.0
// The whole scan: against the recurrence, finite differences, PyTorch; and what must not change it.
#include "kernels/scan/ssd.hpp"

#include "base/error.hpp"
#include "unit_tests/kernels/scan/ssd_problem.hpp"
#include "unit_tests/support/fixture.hpp"
#include "unit_tests/support/gradient.hpp"

using namespace elastic;
using namespace elastic::test;
using kernels::SsdShape;

namespace {
const std::vector<SsdShape> shapes = {
    {1, 1, 1, 1, 1, 1, 64},    {2, 7, 2, 3, 1, 5, 4},    {1, 64, 4, 16, 2, 16, 16},
    {2, 37, 6, 5, 3, 18, 8},   {1, 50, 4, 20, 2, 7, 64}, {3, 16, 2, 33, 2, 9, 16},
    {1, 70, 2, 17, 1, 40, 33},
};

template <class T>
class Ssd : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(Ssd, Scalars);

TYPED_TEST(Ssd, EqualsTheRecurrence) {
  for (const auto& shape : shapes)
    for (const bool extras : {false, true}) {
      SCOPED_TRACE(describe(shape) + (extras ? " with mask and segments" : ""));
      SsdProblem<TypeParam> problem(shape, extras);
      EXPECT_TRUE(near(problem.forward(), reference_ssd(shape, problem.reference()),
                       scan_tolerance<TypeParam>(shape.state_dim * shape.seq_length)));
    }
}

template <class T>
class SsdOfPyTorch : public testing::Test {};
using ExactScalars = testing::Types<float, double>;
TYPED_TEST_SUITE(SsdOfPyTorch, ExactScalars);

TYPED_TEST(SsdOfPyTorch, IsOurs) {
  const Fixture fixture("ssd.h5");
  for (const index_t chunk : {4, 16}) {
    SsdProblem<TypeParam> problem({2, 13, 6, 3, 3, 4, chunk}, false);
    problem.x = fixture.matrix<TypeParam>("scan/x");
    problem.ssm_B = fixture.matrix<TypeParam>("scan/ssm_B");
    problem.ssm_C = fixture.matrix<TypeParam>("scan/ssm_C");
    problem.dt_raw = fixture.matrix<TypeParam>("scan/dt_raw");
    problem.A_log = fixture.vector<TypeParam>("scan/A_log");
    problem.dt_bias = fixture.vector<TypeParam>("scan/dt_bias");
    problem.ssm_D = fixture.vector<TypeParam>("scan/ssm_D");
    problem.dt_mask = fixture.vector<TypeParam>("scan/dt_mask");
    problem.segment = fixture.tokens("scan/segment");
    problem.dy = fixture.matrix<TypeParam>("scan/dy");
    problem.clear_gradients();
    const double tol = tolerance<TypeParam>(100);
    EXPECT_TRUE(near(problem.forward(), fixture.matrix<double>("scan/y"), tol));
    problem.backward();
    const auto& g = problem.gradients;
    EXPECT_TRUE(near(g.dx, fixture.matrix<double>("scan/dx"), tol));
    EXPECT_TRUE(near(g.dssm_B, fixture.matrix<double>("scan/dssm_B"), tol));
    EXPECT_TRUE(near(g.dssm_C, fixture.matrix<double>("scan/dssm_C"), tol));
    EXPECT_TRUE(near(g.ddt_raw, fixture.matrix<double>("scan/ddt_raw"), tol));
    EXPECT_TRUE(near(g.dA_log, fixture.vector<double>("scan/dA_log"), tol));
    EXPECT_TRUE(near(g.ddt_bias, fixture.vector<double>("scan/ddt_bias"), tol));
    EXPECT_TRUE(near(g.dssm_D, fixture.vector<double>("scan/dssm_D"), tol));
    EXPECT_TRUE(near(g.ddt_mask, fixture.vector<double>("scan/ddt_mask"), tol));
  }
}

/// The fields of a problem cut to the first `heads` heads.
template <class T>
SsdProblem<T> first_heads(const SsdProblem<T>& full, index_t heads) {
  SsdProblem<T> cut = full;
  const index_t tokens = full.shape.num_tokens(), columns = heads * full.shape.head_dim;
  cut.shape.num_heads = heads;
  cut.x = prefix(full.x, tokens, columns);
  cut.dy = prefix(full.dy, tokens, columns);
  cut.dt_raw = prefix(full.dt_raw, tokens, heads);
  for (auto member : {&SsdProblem<T>::A_log, &SsdProblem<T>::dt_bias, &SsdProblem<T>::ssm_D,
                      &SsdProblem<T>::dt_mask})
    cut.*member = prefix(full.*member, heads);
  cut.allocate();
  return cut;
}

TYPED_TEST(Ssd, MaskedHeadsAreAsIfCut) {
  using T = TypeParam;
  const SsdShape shape{2, 37, 6, 5, 2, 18, 8};
  const index_t kept = 4, tokens = shape.num_tokens();
  SsdProblem<T> full(shape, true);
  auto mask = to_host(full.dt_mask);
  auto x = to_host(full.x);
  for (index_t h = kept; h < 6; ++h) mask[h] = 0;
  for (index_t i = 0; i < static_cast<index_t>(x.size()); ++i)
    if (i % 30 >= kept * 5) x[i] = T(0);
  assign(full.dt_mask, mask);
  assign(full.x, x);
  auto cut = first_heads(full, kept);
  for (auto* problem : each_of(&full, &cut)) problem->forward(), problem->backward();
  EXPECT_TRUE(bitwise_equal(prefix(full.y, tokens, kept * 5), cut.y));
  EXPECT_TRUE(bitwise_equal(prefix(full.gradients.dx, tokens, kept * 5), cut.gradients.dx));
  EXPECT_TRUE(bitwise_equal(full.gradients.dssm_B, cut.gradients.dssm_B));
  EXPECT_TRUE(bitwise_equal(full.gradients.dssm_C, cut.gradients.dssm_C));
  EXPECT_TRUE(bitwise_equal(prefix(full.gradients.ddt_raw, tokens, kept), cut.gradients.ddt_raw));
  EXPECT_TRUE(bitwise_equal(prefix(full.gradients.dA_log, kept), cut.gradients.dA_log));
  EXPECT_TRUE(bitwise_equal(prefix(full.gradients.ddt_mask, kept), cut.gradients.ddt_mask));
  EXPECT_TRUE(bitwise_equal(prefix(full.gradients.dssm_D, kept), cut.gradients.dssm_D));
}

TYPED_TEST(Ssd, ChunkSizeDoesNotMatter) {
  using T = TypeParam;
  SsdProblem<T> reference({2, 61, 4, 6, 2, 10, 61}, true);
  reference.forward(), reference.backward();
  for (const index_t chunk : {1, 2, 7, 16, 30, 64, 1000}) {
    SCOPED_TRACE(chunk);
    SsdProblem<T> problem({2, 61, 4, 6, 2, 10, chunk}, true);
    problem.forward(), problem.backward();
    const double tol = scan_tolerance<T>(10 * 61);
    EXPECT_TRUE(near(problem.y, reference.y, tol));
    EXPECT_TRUE(near(problem.gradients.dx, reference.gradients.dx, tol));
    EXPECT_TRUE(near(problem.gradients.dssm_B, reference.gradients.dssm_B, tol));
    EXPECT_TRUE(near(problem.gradients.dssm_C, reference.gradients.dssm_C, tol));
    EXPECT_TRUE(near(problem.gradients.ddt_raw, reference.gradients.ddt_raw, tol));
    EXPECT_TRUE(near(problem.gradients.dA_log, reference.gradients.dA_log, tol));
    EXPECT_TRUE(near(problem.gradients.ddt_mask, reference.gradients.ddt_mask, tol));
  }
}

TYPED_TEST(Ssd, ADocumentDoesNotSeeTheOneBefore) {
  using T = TypeParam;
  for (const index_t cut : {16, 21}) {  // at the border of a chunk, and inside one
    SsdProblem<T> problem({1, 60, 4, 6, 2, 10, 8}, false);
    std::vector<token_t> segment(60, 1);
    std::fill(segment.begin() + cut, segment.end(), 2);
    problem.segment = to_device(segment);
    const auto outputs = [&] {
      problem.forward(), problem.backward();
      std::vector<std::vector<T>> result;
      for (const auto& view : each_of(problem.y, problem.gradients.dx, problem.gradients.dssm_B,
                                      problem.gradients.dssm_C, problem.gradients.ddt_raw))
        result.push_back(to_host(rows(view, cut, 60)));
      return result;
    };
    const auto before = outputs();
    for (const auto& view :
         each_of(problem.x, problem.ssm_B, problem.ssm_C, problem.dt_raw, problem.dy)) {
      auto values = to_host(view);
      for (index_t i = 0; i < cut * static_cast<index_t>(view.extent(1)); ++i)
        values[i] = static_cast<T>(1.5f * widen(values[i]));
      assign(view, values);
    }
    const auto after = outputs();
    for (std::size_t i = 0; i < before.size(); ++i)
      EXPECT_TRUE(bitwise_equal(before[i], after[i])) << i;
  }
}

TYPED_TEST(Ssd, PackedDocumentsEqualSeparateRows) {
  using T = TypeParam;
  const index_t length = 24;
  SsdProblem<T> separate({3, length, 4, 6, 2, 10, 8}, false);
  for (const index_t chunk : {8, 10}) {
    SsdProblem<T> packed({1, 3 * length, 4, 6, 2, 10, chunk}, false);
    std::vector<token_t> segment;
    for (index_t t = 0; t < 3 * length; ++t)
      segment.push_back(static_cast<token_t>(t / length % 2));
    packed.segment = to_device(segment);
    for (auto* problem : each_of(&separate, &packed))
      problem->forward(), problem->clear_gradients(), problem->backward();
    const double tol = chunk == 8 ? 0 : scan_tolerance<T>(10 * length);
    EXPECT_TRUE(near(packed.y, separate.y, tol));
    EXPECT_TRUE(near(packed.gradients.dx, separate.gradients.dx, tol));
    EXPECT_TRUE(near(packed.gradients.dssm_B, separate.gradients.dssm_B, tol));
    EXPECT_TRUE(near(packed.gradients.dssm_C, separate.gradients.dssm_C, tol));
    EXPECT_TRUE(near(packed.gradients.ddt_raw, separate.gradients.ddt_raw, tol));
    EXPECT_TRUE(near(packed.gradients.dA_log, separate.gradients.dA_log, tol));
  }
}

/// Spans of a problem as ranks of a context-parallel group compute them: states go forward from
/// span to span, their gradients back.
template <class T>
std::vector<SsdProblem<T>> run_spans(const SsdProblem<T>& whole,
                                     const std::vector<index_t>& borders) {
  const ExecutionSpace exec;
  const index_t batch = whole.shape.batch;
  std::vector<SsdProblem<T>> spans;
  for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
    auto span = whole.span(borders[i], borders[i + 1]);
    if (i > 0)
      span.incoming = {spans[i - 1].saved.final_state,
                       rows_of_sequences(whole.segment, batch, borders[i] - 1, borders[i])};
    kernels::ssd_forward_states<T>({exec}, span.shape, span.inputs(), span.saved,
                                   span.forward_workspace());
    kernels::ssd_forward_passing<T>(exec, span.shape, span.inputs(), span.saved);
    kernels::ssd_forward_outputs<T>({exec}, span.shape, span.inputs(), span.saved, span.y,
                                    span.forward_workspace());
    spans.push_back(span);
  }
  for (std::size_t i = spans.size(); i-- > 0;) {
    if (i + 1 < spans.size())
      spans[i].gradients.dfinal_state = spans[i + 1].gradients.dincoming_state;
    spans[i].backward();
  }
  return spans;
}

/// Spans of whole chunks: the bits of the sequence.
TYPED_TEST(Ssd, SpansOfChunksEqualTheSequenceBitwise) {
  using T = TypeParam;
  for (const bool extras : {false, true}) {
    const SsdShape shape{2, 45, 6, 5, 3, 18, 8};
    SsdProblem<T> whole(shape, extras);
    whole.forward(), whole.backward();
    const std::vector<index_t> borders = {0, 16, 24, 45};
    const auto spans = run_spans(whole, borders);
    for (std::size_t i = 0; i < spans.size(); ++i) {
      SCOPED_TRACE(fmt::format("span {}, extras {}", i, extras));
      const auto cut = [&](const View2<T>& all) {
        return rows_of_sequences(all, 2, borders[i], borders[i + 1]);
      };
      const auto &g = spans[i].gradients, &w = whole.gradients;
      EXPECT_TRUE(bitwise_equal(spans[i].y, cut(whole.y)));
      EXPECT_TRUE(bitwise_equal(g.dx, cut(w.dx)));
      EXPECT_TRUE(bitwise_equal(g.dssm_B, cut(w.dssm_B)));
      EXPECT_TRUE(bitwise_equal(g.dssm_C, cut(w.dssm_C)));
      EXPECT_TRUE(bitwise_equal(g.ddt_raw, cut(w.ddt_raw)));
    }
  }
}

/// Spans that end anywhere; parameter gradients add up.
TYPED_TEST(Ssd, SpansEqualTheSequence) {
  using T = TypeParam;
  using A = Accumulate<T>;
  for (const auto& shape : shapes)
    for (const bool extras : {false, true}) {
      const index_t length = shape.seq_length;
      if (length < 7) continue;
      SCOPED_TRACE(describe(shape) + (extras ? " with mask and segments" : ""));
      SsdProblem<T> whole(shape, extras);
      whole.forward(), whole.backward();
      const std::vector<index_t> borders = {0, length / 3, length / 3 + 1, length - 2, length};
      const auto spans = run_spans(whole, borders);
      const double tol = scan_tolerance<T>(shape.state_dim * length);
      std::vector<double> dA_log(shape.num_heads), ddt_bias = dA_log, dssm_D = dA_log,
                                                   ddt_mask(whole.dt_mask.extent(0));
      for (std::size_t i = 0; i < spans.size(); ++i) {
        const auto cut = [&](const View2<T>& all) {
          return rows_of_sequences(all, shape.batch, borders[i], borders[i + 1]);
        };
        const auto &g = spans[i].gradients, &w = whole.gradients;
        EXPECT_TRUE(near(spans[i].y, cut(whole.y), tol)) << i;
        EXPECT_TRUE(near(g.dx, cut(w.dx), tol)) << i;
        EXPECT_TRUE(near(g.dssm_B, cut(w.dssm_B), tol)) << i;
        EXPECT_TRUE(near(g.dssm_C, cut(w.dssm_C), tol)) << i;
        EXPECT_TRUE(near(g.ddt_raw, cut(w.ddt_raw), tol)) << i;
        const auto add = [](std::vector<double>& sum, const View1<A>& part) {
          const auto values = to_double(part);
          for (std::size_t h = 0; h < values.size(); ++h) sum[h] += values[h];
        };
        add(dA_log, g.dA_log), add(ddt_bias, g.ddt_bias), add(dssm_D, g.dssm_D);
        add(ddt_mask, g.ddt_mask);
      }
      EXPECT_TRUE(near(whole.gradients.dA_log, dA_log, tol));
      EXPECT_TRUE(near(whole.gradients.ddt_bias, ddt_bias, tol));
      EXPECT_TRUE(near(whole.gradients.dssm_D, dssm_D, tol));
      EXPECT_TRUE(near(whole.gradients.ddt_mask, ddt_mask, tol));
    }
}

/// A state that belongs to another document changes no bit and gets no gradient.
TYPED_TEST(Ssd, IncomingStatesOfOtherDocumentsDoNotCount) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const SsdShape shape{2, 20, 4, 6, 2, 10, 8};
  const auto before = random_matrix<A>(8, 60, 51);
  std::vector<token_t> segment(40, 5);
  std::vector<View2<T>> y;
  std::vector<View2<A>> dincoming;
  for (const bool carried : {false, true}) {
    SsdProblem<T> problem(shape, false);
    problem.segment = to_device(segment);
    problem.allocate_spans();
    problem.gradients.dfinal_state = random_matrix<A>(8, 60, 52);
    if (carried) problem.incoming = {before, to_device(std::vector<token_t>{4, 5})};
    problem.forward(), problem.backward();
    y.push_back(problem.y);
    dincoming.push_back(problem.gradients.dincoming_state);
  }
  EXPECT_TRUE(bitwise_equal(clone(rows(y[0], 0, 20)), clone(rows(y[1], 0, 20))));
  EXPECT_FALSE(bitwise_equal(clone(rows(y[0], 20, 40)), clone(rows(y[1], 20, 40))));
  const auto d = to_double(dincoming[1]);
  for (index_t i = 0; i < 4 * 60; ++i) EXPECT_EQ(d[i], 0) << i;
  EXPECT_NE(d[4 * 60], 0);
}

/// total and decay of a span say what it makes of any incoming state, and of any gradient.
TYPED_TEST(Ssd, TotalsCombineSpans) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const ExecutionSpace exec;
  for (const bool extras : {false, true}) {
    SsdProblem<T> problem({2, 20, 4, 6, 2, 10, 8}, extras);
    problem.allocate_spans();
    problem.incoming.state = random_matrix<A>(8, 60, 51);
    if (extras) problem.incoming.segment = rows_of_sequences(problem.segment, 2, 0, 1);
    const View2<A> total("elastic::test::total", 8, 60);
    const View1<A> decay("elastic::test::decay", 8);
    const auto combined = [&](const View2<const A>& state) {
      auto result = to_double(total);
      const auto d = to_double(decay), s = to_double(state);
      for (index_t i = 0; i < 8 * 60; ++i) result[i] += d[i / 60] * s[i];
      return result;
    };
    const double tol = scan_tolerance<T>(200);
    const auto in = problem.inputs();
    kernels::ssd_forward_states<T>({exec}, problem.shape, in, problem.saved,
                                   problem.forward_workspace());
    kernels::ssd_forward_total<T>(exec, problem.shape, in, problem.saved, total, decay);
    kernels::ssd_forward_passing<T>(exec, problem.shape, in, problem.saved);
    EXPECT_TRUE(near(problem.saved.final_state, combined(in.incoming.state), tol));

    auto& g = problem.gradients;
    g.dfinal_state = random_matrix<A>(8, 60, 52);
    const View1<A> workspace("elastic::test::workspace",
                             kernels::ssd_workspace_size<T>(problem.shape));
    kernels::ssd_backward_outputs<T>({exec}, problem.shape, in, problem.saved, problem.dy, g,
                                     workspace);
    kernels::ssd_backward_total<T>(exec, problem.shape, in, problem.saved, workspace, total, decay);
    kernels::ssd_backward_passing<T>(exec, problem.shape, in, problem.saved, g, workspace);
    EXPECT_TRUE(near(g.dincoming_state, combined(g.dfinal_state), tol));
  }
}

TYPED_TEST(Ssd, StepsEqualTheScan) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const SsdShape shape{1, 29, 4, 6, 2, 10, 8};
  SsdProblem<T> problem(shape, true);
  problem.segment = {};
  const auto whole = to_host(problem.forward());
  const View2<A> state("elastic::test::state", 4, 60), next("elastic::test::next", 4, 60);
  const View2<T> y("elastic::test::y", 1, 24), again("elastic::test::again", 1, 24);
  SsdShape one = shape;
  one.seq_length = 1;
  for (index_t t = 0; t < shape.seq_length; ++t) {
    auto in = problem.inputs();
    in.x = rows(problem.x, t, t + 1);
    in.ssm_B = rows(problem.ssm_B, t, t + 1);
    in.ssm_C = rows(problem.ssm_C, t, t + 1);
    in.dt_raw = rows(problem.dt_raw, t, t + 1);
    if (t % 8 == 0) {
      const auto saved = rows(problem.saved.states, t / 2, t / 2 + 4);
      EXPECT_TRUE(near(state, saved, scan_tolerance<T>(t + 1)));
    }
    Kokkos::deep_copy(next, A(7));  // what was there before does not matter
    kernels::ssd_step<T>(ExecutionSpace(), one, in, state, next, again);  // leaves `state` alone
    kernels::ssd_step<T>(ExecutionSpace(), one, in, state, state, y);
    EXPECT_TRUE(bitwise_equal(next, state) && bitwise_equal(again, y)) << "position " << t;
    const std::vector<T> expected(whole.begin() + t * 24, whole.begin() + (t + 1) * 24);
    EXPECT_TRUE(near(y, expected, scan_tolerance<T>(10 * (t + 1)))) << "position " << t;
  }
}

TYPED_TEST(Ssd, RepeatsBitwiseAndAccumulates) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const SsdShape shape{2, 37, 6, 5, 3, 18, 8};
  SsdProblem<T> once(shape, true), twice(shape, true);
  for (auto* problem : each_of(&once, &twice)) problem->forward(), problem->backward();
  EXPECT_TRUE(bitwise_equal(once.gradients.dx, twice.gradients.dx));
  EXPECT_TRUE(bitwise_equal(once.gradients.dssm_B, twice.gradients.dssm_B));
  EXPECT_TRUE(bitwise_equal(once.gradients.dA_log, twice.gradients.dA_log));
  twice.backward();
  const auto doubled = [](const View1<A>& view) {
    auto values = to_host(view);
    for (auto& value : values) value *= 2;
    return values;
  };
  EXPECT_TRUE(bitwise_equal(to_host(twice.gradients.dA_log), doubled(once.gradients.dA_log)));
  EXPECT_TRUE(bitwise_equal(to_host(twice.gradients.ddt_bias), doubled(once.gradients.ddt_bias)));
  EXPECT_TRUE(bitwise_equal(to_host(twice.gradients.dssm_D), doubled(once.gradients.dssm_D)));
  EXPECT_TRUE(bitwise_equal(to_host(twice.gradients.ddt_mask), doubled(once.gradients.ddt_mask)));
  EXPECT_TRUE(bitwise_equal(once.gradients.dx, twice.gradients.dx));
}

TEST(Ssd, StrongDecaysDoNotOverflow) {
  SsdProblem<float> problem({1, 64, 2, 4, 1, 8, 16}, false);
  Kokkos::deep_copy(problem.A_log, 5.0f);     // A = -148
  Kokkos::deep_copy(problem.dt_bias, 30.0f);  // exponents down to -70000 in a chunk
  EXPECT_TRUE(near(problem.forward(), reference_ssd(problem.shape, problem.reference()), 1e-4));
  problem.backward();
  for (const auto value : to_double(problem.gradients.ddt_raw)) EXPECT_TRUE(std::isfinite(value));
}

/// Gradients of a span with a state coming in and a loss on the state going out.
TEST(Ssd, GradientsOfASpanEqualFiniteDifferences) {
  for (const auto& shape : shapes)
    for (const bool extras : {false, true}) {
      SCOPED_TRACE(describe(shape) + (extras ? " with mask and segments" : ""));
      SsdProblem<double> problem(shape, extras);
      problem.allocate_spans();
      const index_t states = shape.batch * shape.num_heads, size = shape.head_dim * shape.state_dim;
      const auto state = random_matrix<double>(states, size, 51);
      problem.incoming.state = state;
      if (extras) problem.incoming.segment = rows_of_sequences(problem.segment, shape.batch, 0, 1);
      auto& g = problem.gradients;
      g.dfinal_state = random_matrix<double>(states, size, 52);
      const auto loss = [&] {
        const double of_rows = problem.loss();
        return of_rows + dot(problem.saved.final_state, g.dfinal_state);
      };
      problem.forward();
      problem.backward();
      EXPECT_LT(directional_error(loss, state, g.dincoming_state), 1e-6);
      EXPECT_LT(directional_error(loss, problem.x, g.dx), 1e-6);
      EXPECT_LT(directional_error(loss, problem.ssm_B, g.dssm_B), 1e-6);
      EXPECT_LT(directional_error(loss, problem.ssm_C, g.dssm_C), 1e-6);
      EXPECT_LT(directional_error(loss, problem.dt_raw, g.ddt_raw), 1e-6);
      EXPECT_LT(directional_error(loss, problem.A_log, g.dA_log), 1e-6);
      EXPECT_LT(directional_error(loss, problem.dt_bias, g.ddt_bias), 1e-6);
      EXPECT_LT(directional_error(loss, problem.dt_mask, g.ddt_mask), 1e-6);
    }
}

TEST(Ssd, WrongShapesThrow) {
  SsdProblem<float> problem({1, 8, 4, 2, 2, 3, 4}, false);
  problem.shape.num_groups = 3;
  EXPECT_THROW(problem.forward(), ContractError);
  problem.shape.num_groups = 2;
  problem.ssm_D = View1<float>("elastic::test::D", 3);
  EXPECT_THROW(problem.forward(), ContractError);
  problem.ssm_D = View1<float>("elastic::test::D", 4);
  problem.incoming.state = View2<float>("elastic::test::state", 4, 5);
  EXPECT_THROW(problem.forward(), ContractError);
  problem.incoming.state = {};
  EXPECT_NO_THROW(problem.forward());
  problem.gradients.dfinal_state = View2<float>("elastic::test::dstate", 4, 5);
  EXPECT_THROW(problem.backward(), ContractError);
  problem.gradients.dfinal_state = {};
  const View1<float> small("elastic::test::workspace", 1);
  EXPECT_THROW(kernels::ssd_backward<float>({}, problem.shape, problem.inputs(), problem.saved,
                                            problem.dy, problem.gradients, small),
               ContractError);
}

TEST(Ssd, GradientsEqualFiniteDifferences) {
  for (const auto& shape : shapes)
    for (const bool extras : {false, true}) {
      SCOPED_TRACE(describe(shape) + (extras ? " with mask and segments" : ""));
      SsdProblem<double> problem(shape, extras);
      const auto loss = [&] { return problem.loss(); };
      problem.forward();
      problem.backward();
      const auto g = problem.gradients;
      EXPECT_LT(directional_error(loss, problem.x, g.dx), 1e-6);
      EXPECT_LT(directional_error(loss, problem.ssm_B, g.dssm_B), 1e-6);
      EXPECT_LT(directional_error(loss, problem.ssm_C, g.dssm_C), 1e-6);
      EXPECT_LT(directional_error(loss, problem.dt_raw, g.ddt_raw), 1e-6);
      if (shape.seq_length > 1) {  // else zero, up to rounding
        EXPECT_LT(directional_error(loss, problem.A_log, g.dA_log), 1e-6);
      }
      EXPECT_LT(directional_error(loss, problem.dt_bias, g.ddt_bias), 1e-6);
      EXPECT_LT(directional_error(loss, problem.ssm_D, g.dssm_D), 1e-6);
      EXPECT_LT(directional_error(loss, problem.dt_mask, g.ddt_mask), 1e-6);
    }
}

TYPED_TEST(Ssd, SequencesOfABatchDoNotSeeEachOther) {
  using T = TypeParam;
  SsdProblem<T> both({2, 21, 4, 3, 2, 5, 8}, true);
  both.forward(), both.backward();
  for (const index_t b : {0, 1}) {
    SsdProblem<T> one({1, 21, 4, 3, 2, 5, 8}, true);
    const auto cut = [&](const auto& all) { return clone(rows(all, b * 21, (b + 1) * 21)); };
    one.x = cut(both.x);
    one.ssm_B = cut(both.ssm_B);
    one.ssm_C = cut(both.ssm_C);
    one.dt_raw = cut(both.dt_raw);
    one.dy = cut(both.dy);
    one.segment = clone(View1<token_t>(Kokkos::subview(both.segment, Range(b * 21, (b + 1) * 21))));
    one.forward(), one.backward();
    EXPECT_TRUE(bitwise_equal(one.y, cut(both.y))) << b;
    EXPECT_TRUE(bitwise_equal(one.gradients.dx, cut(both.gradients.dx))) << b;
    EXPECT_TRUE(bitwise_equal(one.gradients.ddt_raw, cut(both.gradients.ddt_raw))) << b;
  }
}

}  // namespace
