// SPDX-License-Identifier: Apache-2.0
// Packed blocks and register tiles against plain loops, for extents on and off the tile sizes.
#include "kernels/block_product.hpp"

#include "unit_tests/support/views.hpp"

using namespace elastic;
using namespace elastic::test;
using namespace elastic::kernels;

namespace {
/// c = a^T b + diag(scale) c by tiles, from packed copies of a [K, M] and b [K, N]; b passes
/// through two transpositions.
template <class S>
void tiled_product(const View2<const S>& a, const View2<const S>& b, const View1<const S>& scale,
                   const View2<S>& c) {
  const index_t K = a.extent(0), M = a.extent(1), N = b.extent(1), lda = padded(M), ldb = padded(N),
                ldt = padded(K);
  const index_t bytes = (K * lda + K * ldb + N * ldt) * static_cast<index_t>(sizeof(S)) + 3 * 64;
  const int level = scratch_level(bytes);
  Kokkos::TeamPolicy<ExecutionSpace> policy(ExecutionSpace(), 1, Kokkos::AUTO);
  policy.set_scratch_size(level, Kokkos::PerTeam(static_cast<int>(bytes + 64)));
  Kokkos::parallel_for(
      "elastic::test::tiled_product", policy, KOKKOS_LAMBDA(const Team& team) {
        ScratchCarver carver(team.team_scratch(level).get_shmem_aligned(bytes, 64));
        S *packed_a = carver.take<S>(K * lda), *packed_b = carver.take<S>(K * ldb),
          *bt = carver.take<S>(N * ldt);
        pack(team, packed_a, a.data(), leading_dimension(a), K, M);
        pack_transposed(team, bt, ldt, b.data(), leading_dimension(b), K, N);
        pack_transposed(team, packed_b, ldb, bt, ldt, N, K);
        for_each_tile(team, M, N, [&](const index_t i, const index_t j) {
          S factor[tile_rows];
          for (index_t r = 0; r < tile_rows; ++r) factor[r] = i + r < M ? scale(i + r) : S(0);
          Tile<S> tile;
          tile.multiply(packed_a + i, lda, packed_b + j, ldb, 0, K / 2);
          tile.multiply_add(packed_a + i, lda, packed_b + j, ldb, K / 2, K);
          tile.scale_rows(factor);
          tile.add_to(&c(i, j), leading_dimension(c), M - i, N - j);
        });
      });
}

template <class S>
class BlockProduct : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(BlockProduct, Scalars);

TYPED_TEST(BlockProduct, equals_plain_loops) {
  using S = TypeParam;
  struct Extents {
    index_t K, M, N;
  };
  for (const auto [K, M, N] :
       {Extents{1, 1, 1}, {16, 8, 16}, {37, 19, 33}, {5, 64, 80}, {64, 7, 15}}) {
    const auto a = strided_random_matrix<S>(K, M, M + 3, 1),
               b = strided_random_matrix<S>(K, N, N + 5, 2);
    const auto c = strided_random_matrix<S>(M, N, N + 2, 3);
    const auto scale = random_vector<S>(M, 4);
    const auto h_a = to_double(a), h_b = to_double(b), h_scale = to_double(scale);
    auto expected = to_double(c);
    for (index_t i = 0; i < M; ++i)
      for (index_t j = 0; j < N; ++j)
        for (index_t k = 0; k < K; ++k)
          expected[i * N + j] += h_scale[i] * h_a[k * M + i] * h_b[k * N + j];
    tiled_product<S>(a, b, scale, c);
    EXPECT_TRUE(near(c, expected, tolerance<S>(K))) << K << " " << M << " " << N;
  }
}

TYPED_TEST(BlockProduct, elements_do_not_depend_on_the_extents) {
  using S = TypeParam;
  const auto a = random_matrix<S>(30, 40, 1), b = random_matrix<S>(30, 50, 2);
  const auto scale = random_vector<S>(40, 4);
  const View2<S> whole("elastic::test::whole", 40, 50), part("elastic::test::part", 21, 17);
  tiled_product<S>(a, b, scale, whole);
  tiled_product<S>(prefix(a, 30, 21), prefix(b, 30, 17), prefix(scale, 21), part);
  EXPECT_TRUE(bitwise_equal(prefix(whole, 21, 17), part));
}
}  // namespace
