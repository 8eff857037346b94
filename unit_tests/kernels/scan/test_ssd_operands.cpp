// SPDX-License-Identifier: Apache-2.0
#include "kernels/scan/ssd_operands.hpp"

#include "base/error.hpp"
#include "kernels/scan/ssd_batched.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

/// Elements of a workspace that the route by products has for itself, at its end.
template <class T>
index_t for_products(const SsdShape& shape) {
  return ssd_by_products ? ssd_products_backward_size<T>(shape) : 0;
}

/// Every part has its extents and, together, the parts are the workspace: each element written
/// through one of them once.
TEST(SsdWorkspace, PartsShareOutTheWholeMemory) {
  for (const SsdShape& shape : {SsdShape{1, 1, 1, 1, 1, 1, 64}, SsdShape{2, 37, 6, 5, 3, 18, 8}}) {
    const index_t chunks = shape.batch * shape.num_chunks(), heads = shape.num_heads;
    const View1<double> memory("elastic::test::memory", ssd_workspace_size<double>(shape));
    const SsdWorkspace<double> work(shape, memory);
    const auto expect = [](const View2<double>& part, index_t rows, index_t columns) {
      EXPECT_EQ(part.extent_int(0), rows);
      EXPECT_EQ(part.extent_int(1), columns);
    };
    expect(work.dstates, shape.num_states(), shape.head_dim * shape.state_dim);
    expect(work.ddt, shape.num_tokens(), heads);
    expect(work.ddA, shape.num_tokens(), heads);
    expect(work.of_skip, chunks, heads);
    expect(work.of_heads, 3 * chunks, heads);
    EXPECT_EQ(work.for_products.extent_int(0), for_products<double>(shape));
    double number = 1;
    for (const auto& part :
         each_of(work.dstates, work.ddt, work.ddA, work.of_skip, work.of_heads)) {
      Kokkos::deep_copy(part, number);
      number += 1;
    }
    Kokkos::deep_copy(work.for_products, 5.0);
    double last = 1;
    for (const double value : to_host(memory)) {
      EXPECT_GE(value, last);  // no part overwrites another, and nothing is left over
      last = value;
    }
    EXPECT_EQ(last, 5);
  }
}

/// A type that cannot hold sums gets room for those of dx and dB, and the others none.
TEST(SsdWorkspace, KeepsSumsThatGradientsCannotHold) {
  const SsdShape shape{2, 37, 6, 5, 3, 18, 8};
  const index_t dx = 74 * 6 * 5, dssm_B = 74 * 3 * 18,
                size = ssd_workspace_size<bfloat16>(shape) - for_products<bfloat16>(shape);
  EXPECT_EQ(size, ssd_workspace_size<float>(shape) - for_products<float>(shape) + dx + dssm_B);
  const View1<float> memory("elastic::test::memory",
                            ssd_workspace_size<bfloat16>(shape) + ssd_workspace_size<float>(shape));
  const SsdWorkspace<bfloat16> work(shape, memory);
  EXPECT_EQ(work.dx.data() - memory.data(), size - dx - dssm_B);
  EXPECT_EQ(work.dssm_B.data() - memory.data(), size - dssm_B);
  SsdGradients<bfloat16> stored;
  EXPECT_EQ(work.sum_of_dx(stored).data(), work.dx.data());
  EXPECT_EQ(work.sum_of_dssm_B(stored).data(), work.dssm_B.data());

  const SsdWorkspace<float> narrow(shape, memory);
  EXPECT_EQ(narrow.dx.size(), 0u);
  SsdGradients<float> gradients;
  gradients.dx = View2<float>("elastic::test::dx", 74, 30);
  EXPECT_EQ(narrow.sum_of_dx(gradients).data(), gradients.dx.data());
}

TEST(SsdWorkspace, TooLittleMemoryIsAContractError) {
  const SsdShape shape{1, 8, 2, 3, 1, 4, 4};
  const View1<float> memory("elastic::test::memory", ssd_workspace_size<float>(shape) - 1);
  EXPECT_THROW(SsdWorkspace<float>(shape, memory), ContractError);
}

/// What plan and arena count on: linear in the batch, and enough for every sequence alone, but for
/// the buffers of products, which serve a batch of chunks after the other.
TEST(SsdWorkspace, GrowsWithTheBatch) {
  SsdShape shape{1, 37, 6, 5, 3, 18, 8};
  const auto size = [&] { return ssd_workspace_size<float>(shape) - for_products<float>(shape); };
  const index_t one = size();
  for (shape.batch = 2; shape.batch < 5; ++shape.batch) EXPECT_EQ(size(), shape.batch * one);
  EXPECT_GT(one, shape.head_dim * shape.state_dim * shape.num_heads * 5);
}

}  // namespace
}  // namespace elastic::kernels
