// SPDX-License-Identifier: Apache-2.0
// Attention of one position against a cache.
#include "unit_tests/kernels/attention/attention_problem.hpp"

namespace elastic::test {
namespace {

template <class T>
class AttentionStep : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(AttentionStep, Scalars);

/// One position after the other against a growing cache gives the rows of the whole sequence.
TYPED_TEST(AttentionStep, EqualsTheRowsOfTheSequence) {
  using T = TypeParam;
  const index_t B = 2, L = 70, A = 4, R = 2, C = 20, room = L + 6;
  const Attention<T> whole({B, L, A, R, C});
  whole.forward();
  const auto out = to_host(whole.out), q = to_host(whole.q), k = to_host(whole.k),
             v = to_host(whole.v);
  std::vector<T> k_cache(B * room * R * C, static_cast<T>(std::numeric_limits<float>::quiet_NaN())),
      v_cache = k_cache;
  for (index_t length = 1; length <= L; ++length) {
    std::vector<T> q_row, expected;
    for (index_t b = 0; b < B; ++b) {
      const index_t t = b * L + length - 1, to = (b * room + length - 1) * R * C;
      q_row.insert(q_row.end(), &q[t * A * C], &q[t * A * C] + A * C);
      expected.insert(expected.end(), &out[t * A * C], &out[t * A * C] + A * C);
      std::copy_n(&k[t * R * C], R * C, &k_cache[to]);
      std::copy_n(&v[t * R * C], R * C, &v_cache[to]);
    }
    const View2<T> result("elastic::test::result", B, A * C);
    kernels::attention_step<T>({}, {B, room, A, R, C}, length, to_device(q_row, B, A * C),
                               to_device(k_cache, B * room, R * C),
                               to_device(v_cache, B * room, R * C), result);
    ASSERT_TRUE(near(result, expected, attention_tolerance<T>(L))) << "length " << length;
  }
}

/// Rows of the cache past the length are not read, and what a step gives does not depend on the
/// room behind them.
TYPED_TEST(AttentionStep, RoomInTheCacheChangesNoBit) {
  using T = TypeParam;
  const index_t A = 4, R = 2, C = 20, length = 75;
  const auto q = random_matrix<T>(1, A * C, 1), k = random_matrix<T>(length, R * C, 2),
             v = random_matrix<T>(length, R * C, 3);
  const View2<T> tight("elastic::test::tight", 1, A * C), roomy("elastic::test::roomy", 1, A * C);
  kernels::attention_step<T>({}, {1, length, A, R, C}, length, q, k, v, tight);
  const auto with_room = [&](const View2<T>& rows) {
    const View2<T> cache("elastic::test::cache", length + 100, R * C);
    Kokkos::deep_copy(cache, static_cast<T>(std::numeric_limits<float>::quiet_NaN()));
    assign(prefix(cache, length, R * C), to_host(rows));
    return cache;
  };
  kernels::attention_step<T>({}, {1, length + 100, A, R, C}, length, q, with_room(k), with_room(v),
                             roomy);
  EXPECT_TRUE(bitwise_equal(tight, roomy));
}

/// The first k * R heads, with all KV heads, are the small model's: the narrower submodel goes on
/// with the same cache.
TYPED_TEST(AttentionStep, PrefixOfHeadsIsTheSmallProblem) {
  using T = TypeParam;
  const index_t A = 6, R = 2, C = 12, length = 70;
  const auto q = random_matrix<T>(3, A * C, 1), k = random_matrix<T>(3 * length, R * C, 2),
             v = random_matrix<T>(3 * length, R * C, 3);
  const View2<T> all("elastic::test::all", 3, A * C);
  kernels::attention_step<T>({}, {3, length, A, R, C}, length, q, k, v, all);
  for (const index_t heads : {2, 4}) {
    const View2<T> some("elastic::test::some", 3, heads * C);
    kernels::attention_step<T>({}, {3, length, heads, R, C}, length, prefix(q, 3, heads * C), k, v,
                               some);
    EXPECT_TRUE(bitwise_equal(to_host(some), to_host(prefix(all, 3, heads * C)))) << heads;
  }
}

TYPED_TEST(AttentionStep, LargeScoresAreFinite) {
  using T = TypeParam;
  const index_t C = 8, length = 66;
  const auto q = random_matrix<T>(1, C, 1, -300, 300),
             k = random_matrix<T>(length, C, 2, -300, 300), v = random_matrix<T>(length, C, 3);
  const View2<T> out("elastic::test::out", 1, C);
  kernels::attention_step<T>({}, {1, length, 1, 1, C}, length, q, k, v, out);
  for (const double x : to_double(out)) EXPECT_LE(std::abs(x), 1 + tolerance<T>(length));
}

TEST(AttentionStepExtents, WrongOnesAreContractErrors) {
  const auto q = random_matrix<float>(2, 8, 1), cache = random_matrix<float>(20, 8, 2);
  const View2<float> out("elastic::test::out", 2, 8);
  const auto step = [&](index_t length, const View2<float>& k, const View2<float>& target) {
    kernels::attention_step<float>({}, {2, 10, 2, 2, 4}, length, q, k, cache, target);
  };
  EXPECT_NO_THROW(step(10, cache, out));
  EXPECT_THROW(step(0, cache, out), ContractError);
  EXPECT_THROW(step(11, cache, out), ContractError);
  EXPECT_THROW(step(10, random_matrix<float>(19, 8, 2), out), ContractError);
  EXPECT_THROW(step(10, cache, View2<float>("elastic::test::out", 2, 7)), ContractError);
}

}  // namespace
}  // namespace elastic::test
