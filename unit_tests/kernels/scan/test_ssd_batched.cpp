// SPDX-License-Identifier: Apache-2.0
// The chunked scan by batched products, on any machine: against the kernels of register tiles in
// double precision, which agree with the recurrence. Where T is narrower than its sums, operands of
// products were rounded once more.
#include "kernels/scan/ssd_batched.hpp"

#include "kernels/scan/ssd_chunk_cumsum.hpp"
#include "kernels/scan/ssd_chunk_scan.hpp"
#include "kernels/scan/ssd_chunk_state.hpp"
#include "kernels/scan/ssd_state_passing.hpp"
#include "unit_tests/kernels/contract.hpp"
#include "unit_tests/kernels/scan/ssd_problem.hpp"

using namespace elastic;
using namespace elastic::test;
using kernels::SsdShape;

namespace {
/// One chunk and many, whole and short ones, one head per group and several, tiles of pairs that
/// end inside a chunk, batches of chunks.
const std::vector<SsdShape> shapes = {{1, 1, 1, 1, 1, 1, 64},     {2, 7, 2, 3, 1, 5, 4},
                                      {2, 37, 6, 5, 2, 18, 8},    {3, 32, 4, 40, 4, 33, 16},
                                      {1, 50, 4, 20, 2, 7, 64},   {1, 70, 2, 17, 1, 40, 33},
                                      {2, 300, 2, 8, 1, 16, 128}, {1, 1030, 16, 4, 1, 4, 512}};

template <class T>
View1<Accumulate<T>> filled_with_nan(index_t size) {
  const View1<Accumulate<T>> memory("elastic::test::workspace", size);
  Kokkos::deep_copy(memory, std::numeric_limits<Accumulate<T>>::quiet_NaN());
  return memory;
}

template <class T>
void forward_by_products(const SsdProblem<T>& p, const kernels::Products& products = {}) {
  const auto memory = filled_with_nan<T>(kernels::ssd_products_forward_size<T>(p.shape));
  const auto in = p.inputs();
  kernels::ssd_chunk_cumsum_forward<T>(products.exec, p.shape, in, p.saved);
  kernels::ssd_products_state_forward<T>(products, p.shape, in, p.saved, memory);
  kernels::ssd_state_passing_forward<T>(products.exec, p.shape, in, p.saved);
  kernels::ssd_products_scan_forward<T>(products, p.shape, in, p.saved, p.y, memory);
}
template <class T>
void backward_by_products(SsdProblem<T>& p, const kernels::Products& products = {}) {
  const auto in = p.inputs();
  auto work = p.workspace();
  work.for_products = filled_with_nan<T>(kernels::ssd_products_backward_size<T>(p.shape));
  const T nan = static_cast<T>(std::numeric_limits<Accumulate<T>>::quiet_NaN());
  const auto& g = p.gradients;
  for (const auto& overwritten : {g.dx, g.dssm_B, g.dssm_C, g.ddt_raw})
    Kokkos::deep_copy(overwritten, nan);
  kernels::ssd_products_scan_backward<T>(products, p.shape, in, p.saved, p.dy, work, g);
  kernels::ssd_state_passing_backward<T>(products.exec, p.shape, in, p.saved, work, g);
  kernels::ssd_products_state_backward<T>(products, p.shape, in, p.saved, work, g);
  kernels::ssd_chunk_cumsum_backward<T>(products.exec, p.shape, in, p.saved, work, g);
}

void forward_by_tiles(const SsdProblem<double>& p) {
  const auto in = p.inputs();
  kernels::ssd_chunk_cumsum_forward<double>({}, p.shape, in, p.saved);
  kernels::ssd_chunk_state_forward<double>({}, p.shape, in, p.saved);
  kernels::ssd_state_passing_forward<double>({}, p.shape, in, p.saved);
  kernels::ssd_chunk_scan_forward<double>({}, p.shape, in, p.saved, p.y);
}
void backward_by_tiles(SsdProblem<double>& p) {
  const auto in = p.inputs();
  const auto work = p.workspace();
  kernels::ssd_chunk_scan_backward<double>({}, p.shape, in, p.saved, p.dy, work, p.gradients);
  kernels::ssd_state_passing_backward<double>({}, p.shape, in, p.saved, work, p.gradients);
  kernels::ssd_chunk_state_backward<double>({}, p.shape, in, p.saved, work, p.gradients);
  kernels::ssd_chunk_cumsum_backward<double>({}, p.shape, in, p.saved, work, p.gradients);
}

/// A span of a sequence that begins with a state and hands one on.
template <class T>
void make_span(SsdProblem<T>& p) {
  using A = Accumulate<T>;
  const index_t states = p.shape.batch * p.shape.num_heads,
                size = p.shape.head_dim * p.shape.state_dim;
  p.allocate_spans();
  p.incoming.state = random_matrix<A>(states, size, 71);
  p.gradients.dfinal_state = random_matrix<A>(states, size, 72);
  if (p.segment.extent(0) == 0) return;
  const auto all = to_host(p.segment);  // the first sequence goes on, others begin
  std::vector<token_t> before(static_cast<std::size_t>(p.shape.batch), 999);
  before[0] = all[0];
  p.incoming.segment = to_device(before);
}
template <class T>
SsdProblem<double> exact_span(const SsdProblem<T>& p) {
  auto exact = p.exact();
  if (p.incoming.state.extent(0) == 0) return exact;
  exact.allocate_spans();
  exact.incoming = {stored_as<double>(View2<Accumulate<T>>(
                        const_cast<Accumulate<T>*>(p.incoming.state.data()),
                        p.incoming.state.extent(0), p.incoming.state.extent(1))),
                    p.incoming.segment};
  exact.gradients.dfinal_state = stored_as<double>(
      View2<Accumulate<T>>(const_cast<Accumulate<T>*>(p.gradients.dfinal_state.data()),
                           p.gradients.dfinal_state.extent(0), p.gradients.dfinal_state.extent(1)));
  return exact;
}

template <class T>
class SsdBatched : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(SsdBatched, Scalars);

template <class T>
void expect_equal(SsdProblem<T>& p, SsdProblem<double>& exact) {
  const double tol = stored_tolerance<T>(p.shape.state_dim * p.shape.seq_length, 3);
  forward_by_products(p), backward_by_products(p);
  forward_by_tiles(exact), backward_by_tiles(exact);
  const auto& g = p.gradients;
  const auto& e = exact.gradients;
  EXPECT_TRUE(near(p.saved.states, exact.saved.states, tol)) << "states";
  EXPECT_TRUE(near(p.y, exact.y, tol)) << "y";
  EXPECT_TRUE(near(g.dx, e.dx, tol)) << "dx";
  EXPECT_TRUE(near(g.dssm_B, e.dssm_B, tol)) << "dB";
  EXPECT_TRUE(near(g.dssm_C, e.dssm_C, tol)) << "dC";
  EXPECT_TRUE(near(g.ddt_raw, e.ddt_raw, tol)) << "ddt_raw";
  EXPECT_TRUE(near(g.dA_log, e.dA_log, tol)) << "dA_log";
  EXPECT_TRUE(near(g.ddt_bias, e.ddt_bias, tol)) << "ddt_bias";
  EXPECT_TRUE(near(g.dssm_D, e.dssm_D, tol)) << "dD";
  EXPECT_TRUE(near(g.ddt_mask, e.ddt_mask, tol)) << "ddt_mask";
}

TYPED_TEST(SsdBatched, EqualsTheKernelsOfTiles) {
  for (const auto& shape : shapes)
    for (const bool extras : {false, true}) {
      SCOPED_TRACE(describe(shape) + (extras ? " with mask and segments" : ""));
      SsdProblem<TypeParam> problem(shape, extras);
      auto exact = problem.exact();
      expect_equal(problem, exact);
    }
}

/// Spans whose last chunks are whole and short, with a state before them and a gradient after.
TYPED_TEST(SsdBatched, EqualsTheKernelsOfTilesOnSpans) {
  for (const SsdShape& shape : {SsdShape{2, 37, 6, 5, 2, 18, 8}, SsdShape{2, 64, 4, 5, 1, 6, 32}})
    for (const bool extras : {false, true}) {
      SCOPED_TRACE(describe(shape) + (extras ? " with mask and segments" : ""));
      SsdProblem<TypeParam> problem(shape, extras);
      make_span(problem);
      auto exact = exact_span(problem);
      expect_equal(problem, exact);
      const double tol = stored_tolerance<TypeParam>(shape.state_dim * shape.seq_length, 3);
      EXPECT_TRUE(near(problem.saved.final_state, exact.saved.final_state, tol));
      EXPECT_TRUE(near(problem.gradients.dincoming_state, exact.gradients.dincoming_state, tol));
    }
}

/// Nothing is added up in an order that depends on threads.
TYPED_TEST(SsdBatched, TwoCallsGiveTheSameBits) {
  const SsdShape shape{2, 37, 6, 5, 2, 18, 8};
  SsdProblem<TypeParam> first(shape, true), second(shape, true);
  const kernels::Products products{.deterministic = true};
  for (auto* p : {&first, &second})
    forward_by_products(*p, products), backward_by_products(*p, products);
  EXPECT_TRUE(bitwise_equal(first.y, second.y));
  EXPECT_TRUE(bitwise_equal(first.gradients.dx, second.gradients.dx));
  EXPECT_TRUE(bitwise_equal(first.gradients.dssm_B, second.gradients.dssm_B));
  EXPECT_TRUE(bitwise_equal(first.gradients.ddt_raw, second.gradients.ddt_raw));
}

/// In deterministic mode chunks share no sums: a sequence gives the same rows whatever stands
/// beside it in the batch, and the first heads of every group the same whatever heads follow.
TYPED_TEST(SsdBatched, OutputsDoNotDependOnOtherSequencesOrHeads) {
  using T = TypeParam;
  const kernels::Products products{.deterministic = true};
  SsdProblem<T> both({2, 37, 6, 5, 2, 18, 8}, false);
  forward_by_products(both, products);
  SsdProblem<T> one({1, 37, 4, 5, 2, 18, 8}, false);
  const auto rows_and_columns = [](const View2<T>& all, index_t columns) {
    return stored_as<T>(prefix(all, 37, columns));
  };
  one.x = rows_and_columns(both.x, 20);
  one.dt_raw = rows_and_columns(both.dt_raw, 4);
  one.ssm_B = rows_and_columns(both.ssm_B, 36);
  one.ssm_C = rows_and_columns(both.ssm_C, 36);
  one.A_log = prefix(both.A_log, 4);
  one.dt_bias = prefix(both.dt_bias, 4);
  one.ssm_D = prefix(both.ssm_D, 4);
  forward_by_products(one, products);
  EXPECT_TRUE(bitwise_equal(one.y, stored_as<T>(prefix(both.y, 37, 20))));
}

TEST(SsdBatchedContract, WorkspaceMustBeLargeEnough) {
  SsdProblem<float> p({2, 37, 6, 5, 2, 18, 8}, false);
  const index_t size = kernels::ssd_products_forward_size<float>(p.shape);
  EXPECT_TRUE(refuses(
      [&] {
        kernels::ssd_products_state_forward<float>({}, p.shape, p.inputs(), p.saved,
                                                   View1<float>("elastic::test", size - 1));
      },
      "workspace has"));
}
}  // namespace
