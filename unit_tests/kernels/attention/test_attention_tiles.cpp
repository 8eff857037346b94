// SPDX-License-Identifier: Apache-2.0
// What forward and backward attention share: where heads lie, which tiles see each other, the
// product of a row-major with a k-major block.
#include "kernels/attention/attention_tiles.hpp"

#include "unit_tests/kernels/attention/attention_problem.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

TEST(AttentionHead, LiesAtItsColumnsAndRows) {
  const AttentionShape shape{3, 10, 6, 2, 8, 5, 20};
  const auto segment = to_device(std::vector<token_t>(60, 1));
  const AttentionHead head(shape, segment, 2, 3);
  EXPECT_EQ(head.first_query, 20);
  EXPECT_EQ(head.first_key, 40);
  EXPECT_EQ(head.q_column, 24);
  EXPECT_EQ(head.kv_column, 8);  // KV head 3 % 2
  EXPECT_EQ(head.segment, segment.data() + 40);
  EXPECT_EQ(AttentionHead(shape, {}, 2, 3).segment, nullptr);
}

TEST(AttentionHead, ATileInteractsUnlessAllItsKeysAreOfEarlierDocuments) {
  const AttentionShape shape{1, 6, 1, 1, 1};
  const auto segment = to_device(std::vector<token_t>{1, 1, 2, 2, 2, 5});
  const AttentionHead packed(shape, segment, 0, 0), alone(shape, {}, 0, 0);
  for (index_t query = 0; query < 6; ++query)
    for (index_t last_key = 0; last_key <= query; ++last_key) {
      bool sees = false;  // some key up to last_key is of the query's document
      const auto id = to_host(segment);
      for (index_t key = 0; key <= last_key; ++key) sees = sees || id[key] == id[query];
      EXPECT_EQ(packed.interact(query, last_key), sees) << query << " " << last_key;
      EXPECT_TRUE(alone.interact(query, last_key));
    }
}

/// multiply_rows of a [tile_rows, count] by b [count, lanes], b with leading dimension `ldb`.
template <class T>
std::vector<T> product_of_rows(const View2<T>& a, const View2<T>& b, index_t count) {
  const View2<T> c("elastic::test::c", tile_rows, lanes);
  const index_t lda = leading_dimension(a), ldb = leading_dimension(b);
  Kokkos::parallel_for(
      "elastic::test::multiply_rows", Kokkos::RangePolicy<ExecutionSpace>(0, 1),
      KOKKOS_LAMBDA(int) {
        Tile<T> tile;
        multiply_rows(tile, a.data(), lda, b.data(), ldb, count);
        tile.store(c.data(), lanes, tile_rows, lanes);
      });
  return to_host(c);
}

template <class T>
class AttentionTiles : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(AttentionTiles, Scalars);

TYPED_TEST(AttentionTiles, ProductOfRowsEqualsNaive) {
  using T = TypeParam;
  for (const index_t count : {0, 1, 7, 64}) {
    const auto a = strided_random_matrix<T>(tile_rows, count, count + 3, 1),
               b = strided_random_matrix<T>(count, lanes, lanes + 5, 2);
    const auto x = to_double(a), y = to_double(b);
    std::vector<double> expected(tile_rows * lanes);
    for (index_t i = 0; i < tile_rows; ++i)
      for (index_t j = 0; j < lanes; ++j)
        for (index_t k = 0; k < count; ++k)
          expected[i * lanes + j] += x[i * count + k] * y[k * lanes + j];
    EXPECT_TRUE(near(product_of_rows<T>(a, b, count), expected, tolerance<T>(count))) << count;
  }
}

TEST(AttentionPairs, AreTheVisibleScores) {
  for (const AttentionShape& shape :
       {AttentionShape{2, 7, 4, 2, 3}, AttentionShape{1, 5, 2, 1, 6, 9, 20}}) {
    double pairs = 0;
    for (index_t i = 0; i < shape.seq_length; ++i)
      for (index_t j = 0; j < shape.num_keys(); ++j) pairs += j <= shape.q_begin + i ? 1 : 0;
    EXPECT_EQ(attention_pairs(shape),
              pairs * static_cast<double>(shape.batch * shape.num_heads * shape.head_dim));
  }
}

TEST(AttentionScale, IsTheInverseRootOfTheChannels) {
  EXPECT_EQ(attention_scale<double>({1, 1, 1, 1, 16}), 0.25);
  EXPECT_NEAR(attention_scale<float>({1, 1, 1, 1, 80}), 1 / std::sqrt(80.0), 1e-8);
}

}  // namespace
}  // namespace elastic::kernels
