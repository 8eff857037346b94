// SPDX-License-Identifier: Apache-2.0
#include "kernels/products/head_channels.hpp"

#include "base/error.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class HeadChannels : public testing::Test {};
using Scalars = testing::Types<float, double, bfloat16>;
TYPED_TEST_SUITE(HeadChannels, Scalars);

TYPED_TEST(HeadChannels, PackAndUnpackTouchTheActiveRowsOnly) {
  using T = TypeParam;
  const index_t heads = 3, head_dim = 5, active = 2, w = 4;
  const auto full = random_matrix<T>(4 * head_dim, w, 1);  // one more head than is packed
  const auto before = to_host(full);
  const View2<T> packed("elastic::test::packed", heads * active, w);
  pack_head_channels<T>(ExecutionSpace(), full, head_dim, active, packed);
  const auto h_packed = to_host(packed);
  for (index_t h = 0; h < heads; ++h)
    for (index_t p = 0; p < active; ++p)
      for (index_t j = 0; j < w; ++j)
        EXPECT_EQ(h_packed[(h * active + p) * w + j], before[(h * head_dim + p) * w + j]);

  const auto sums = stored_as<Accumulate<T>>(full);
  unpack_add_head_channels<T>(ExecutionSpace(), stored_as<Accumulate<T>>(packed), head_dim, active,
                              sums);
  const auto after = to_host(sums);
  for (index_t row = 0; row < 4 * head_dim; ++row) {
    const bool touched = row < heads * head_dim && row % head_dim < active;
    for (index_t j = 0; j < w; ++j)
      EXPECT_EQ(after[row * w + j], (touched ? 2 : 1) * widen(before[row * w + j])) << row;
  }
}

TYPED_TEST(HeadChannels, RejectsShapesThatDoNotFit) {
  using T = TypeParam;
  const auto full = random_matrix<T>(10, 3, 1);
  const ExecutionSpace exec;
  EXPECT_THROW(pack_head_channels<T>(exec, full, 5, 2, random_matrix<T>(6, 3, 1)),
               ContractError);  // three heads
  EXPECT_THROW(pack_head_channels<T>(exec, full, 5, 2, random_matrix<T>(3, 3, 1)),
               ContractError);  // one and a half
  EXPECT_THROW(pack_head_channels<T>(exec, full, 5, 6, random_matrix<T>(6, 3, 1)), ContractError);
}

/// Unpacking is the transpose of packing.
TYPED_TEST(HeadChannels, UnpackIsTheTransposeOfPack) {
  using T = TypeParam;
  const index_t heads = 4, P = 6, active = 4, w = 3;
  const auto full = random_matrix<T>(heads * P, w, 1);
  const auto packed_gradient = random_matrix<Accumulate<T>>(heads * active, w, 2);
  const View2<T> packed("elastic::test::packed", heads * active, w);
  const View2<Accumulate<T>> gradient("elastic::test::gradient", heads * P, w);
  pack_head_channels<T>(ExecutionSpace(), full, P, active, packed);
  unpack_add_head_channels<T>(ExecutionSpace(), packed_gradient, P, active, gradient);
  const auto inner = [](const auto& a, const auto& b) {
    const auto x = to_double(a), y = to_double(b);
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
    return sum;
  };
  EXPECT_NEAR(inner(packed, packed_gradient), inner(full, gradient), tolerance<T>(48));
  EXPECT_NE(inner(packed, packed_gradient), 0);
}

TYPED_TEST(HeadChannels, WholeHeadsAreCopied) {
  using T = TypeParam;
  const auto full = random_matrix<T>(15, 4, 1);
  const View2<T> packed("elastic::test::packed", 15, 4);
  pack_head_channels<T>(ExecutionSpace(), full, 5, 5, packed);
  EXPECT_TRUE(bitwise_equal(packed, full));
}

}  // namespace
}  // namespace elastic::kernels
