// SPDX-License-Identifier: Apache-2.0
// Packed blocks and register tiles against plain loops, for extents on and off the tile sizes.
#include "kernels/products/block_product.hpp"

#include "unit_tests/support/views.hpp"

using namespace elastic;
using namespace elastic::test;
using namespace elastic::kernels;

namespace {
/// c = a^T b + diag(scale) c by tiles, from packed copies of a [K, M] and b [K, N]; b passes
/// through two transpositions.
template <class T>
void tiled_product(const View2<const T>& a, const View2<const T>& b, const View1<const T>& scale,
                   const View2<T>& c) {
  const index_t K = a.extent(0), M = a.extent(1), N = b.extent(1), lda = padded(M), ldb = padded(N),
                ldt = padded(K);
  const index_t bytes = (K * lda + K * ldb + N * ldt) * static_cast<index_t>(sizeof(T)) + 3 * 64;
  const int level = scratch_level(bytes);
  Kokkos::TeamPolicy<ExecutionSpace> policy(ExecutionSpace(), 1, Kokkos::AUTO);
  policy.set_scratch_size(level, Kokkos::PerTeam(static_cast<int>(bytes + 64)));
  Kokkos::parallel_for(
      "elastic::test::tiled_product", policy, KOKKOS_LAMBDA(const Team& team) {
        ScratchCarver carver(team.team_scratch(level).get_shmem_aligned(bytes, 64));
        T *packed_a = carver.take<T>(K * lda), *packed_b = carver.take<T>(K * ldb),
          *bt = carver.take<T>(N * ldt);
        pack(team, packed_a, a.data(), leading_dimension(a), K, M);
        pack_transposed(team, bt, ldt, b.data(), leading_dimension(b), K, N);
        pack_transposed(team, packed_b, ldb, bt, ldt, N, K);
        for_each_tile(team, M, N, [&](const index_t i, const index_t j) {
          T factor[tile_rows];
          for (index_t r = 0; r < tile_rows; ++r) factor[r] = i + r < M ? scale(i + r) : T(0);
          Tile<T> tile;
          tile.multiply(packed_a + i, lda, packed_b + j, ldb, 0, K / 2);
          tile.multiply_add(packed_a + i, lda, packed_b + j, ldb, K / 2, K);
          tile.scale_rows(factor);
          tile.add_to(&c(i, j), leading_dimension(c), M - i, N - j);
        });
      });
}

template <class T>
class BlockProduct : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(BlockProduct, Scalars);

TYPED_TEST(BlockProduct, EqualsPlainLoops) {
  using T = TypeParam;
  struct Extents {
    index_t K, M, N;
  };
  for (const auto [K, M, N] :
       {Extents{1, 1, 1}, {16, 8, 16}, {37, 19, 33}, {5, 64, 80}, {64, 7, 15}}) {
    const auto a = strided_random_matrix<T>(K, M, M + 3, 1),
               b = strided_random_matrix<T>(K, N, N + 5, 2);
    const auto c = strided_random_matrix<T>(M, N, N + 2, 3);
    const auto scale = random_vector<T>(M, 4);
    const auto h_a = to_double(a), h_b = to_double(b), h_scale = to_double(scale);
    auto expected = to_double(c);
    for (index_t i = 0; i < M; ++i)
      for (index_t j = 0; j < N; ++j)
        for (index_t k = 0; k < K; ++k)
          expected[i * N + j] += h_scale[i] * h_a[k * M + i] * h_b[k * N + j];
    tiled_product<T>(a, b, scale, c);
    EXPECT_TRUE(near(c, expected, tolerance<T>(K))) << K << " " << M << " " << N;
  }
}

TYPED_TEST(BlockProduct, ElementsDoNotDependOnTheExtents) {
  using T = TypeParam;
  const auto a = random_matrix<T>(30, 40, 1), b = random_matrix<T>(30, 50, 2);
  const auto scale = random_vector<T>(40, 4);
  const View2<T> whole("elastic::test::whole", 40, 50), part("elastic::test::part", 21, 17);
  tiled_product<T>(a, b, scale, whole);
  tiled_product<T>(prefix(a, 30, 21), prefix(b, 30, 17), prefix(scale, 21), part);
  EXPECT_TRUE(bitwise_equal(prefix(whole, 21, 17), part));
}

/// A tile of doubles written to a matrix of floats: each element is rounded once.
template <class U>
std::vector<U> stored(const View2<const double>& value, const View2<U>& c, bool add) {
  const index_t rows = c.extent(0), columns = c.extent(1), ld = leading_dimension(c);
  Kokkos::parallel_for(
      "elastic::test::stored", Kokkos::RangePolicy<ExecutionSpace>(0, 1), KOKKOS_LAMBDA(int) {
        Tile<double> tile;
        for (index_t i = 0; i < tile_rows; ++i)
          for (index_t j = 0; j < lanes; ++j) tile.value[i][j] = value(i, j);
        if (add)
          tile.add_to(c.data(), ld, rows, columns);
        else
          tile.store(c.data(), ld, rows, columns);
      });
  return to_host(c);
}

TEST(TileOfSums, IsRoundedOnceWhereItIsStored) {
  const auto value = random_matrix<double>(tile_rows, lanes, 1);
  const auto exact = to_host(value);
  for (const index_t rows : {index_t(1), tile_rows})
    for (const index_t columns : {index_t(1), lanes - 1, lanes}) {
      const auto c = random_matrix<float>(rows, columns, 2);
      const auto old = to_host(c);
      const auto added = stored<float>(value, clone(c), true), set = stored<float>(value, c, false);
      for (index_t i = 0; i < rows; ++i)
        for (index_t j = 0; j < columns; ++j) {
          const double x = exact[i * lanes + j], before = old[i * columns + j];
          EXPECT_EQ(set[i * columns + j], static_cast<float>(x));
          EXPECT_EQ(added[i * columns + j], static_cast<float>(before + x));
        }
    }
}

}  // namespace
