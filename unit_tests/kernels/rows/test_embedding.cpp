// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/embedding.hpp"

#include "unit_tests/kernels/shards.hpp"
#include "unit_tests/support/fixture.hpp"
#include "unit_tests/kernels/contract.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class Embedding : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(Embedding, Scalars);

template <class T>
class EmbeddingOfPyTorch : public testing::Test {};
using ExactScalars = testing::Types<float, double>;
TYPED_TEST_SUITE(EmbeddingOfPyTorch, ExactScalars);

TYPED_TEST(EmbeddingOfPyTorch, IsOurs) {
  using T = TypeParam;
  const Fixture f("dense_kernels.h5");
  const auto tokens = f.tokens("embedding/tokens");
  const auto weight = f.matrix<T>("embedding/weight");
  const View2<T> y("elastic::test::y", tokens.extent(0), weight.extent(1));
  embedding_forward<T>(ExecutionSpace(), tokens, weight, y);
  EXPECT_TRUE(near(y, f.matrix<double>("embedding/y"), tolerance<T>(1)));
  const View2<T> dweight("elastic::test::dweight", weight.extent(0), weight.extent(1));
  embedding_backward<T>(ExecutionSpace(), tokens, f.matrix<T>("embedding/dy"), dweight);
  EXPECT_TRUE(near(dweight, f.matrix<double>("embedding/dweight"), tolerance<T>(1)));
}

TYPED_TEST(Embedding, PrefixOfWideTableAndAccumulation) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const auto ids = to_device(std::vector<token_t>{3, 0, 3, 3, 1});
  const auto weight = strided_random_matrix<T>(4, 6, 10, 1);
  const auto y = strided_random_matrix<T>(5, 6, 7, 2);
  embedding_forward<T>(ExecutionSpace(), ids, weight, y);
  const auto w = to_host(weight), h_y = to_host(y);
  for (index_t j = 0; j < 6; ++j) EXPECT_EQ(h_y[2 * 6 + j], w[3 * 6 + j]);

  const auto dy = strided_random_matrix<T>(5, 6, 9, 3);
  const auto dweight = strided_random_matrix<A>(4, 6, 10, 4);
  auto expected = to_host(dweight);
  const auto h_dy = to_host(dy);
  const std::vector<token_t> words = {3, 0, 3, 3, 1};
  for (index_t t = 0; t < 5; ++t)
    for (index_t j = 0; j < 6; ++j) expected[words[t] * 6 + j] += widen(h_dy[t * 6 + j]);
  embedding_backward<T>(ExecutionSpace(), ids, dy, dweight);
  EXPECT_TRUE(bitwise_equal(to_host(dweight), expected));  // the same order of sums
}

/// Ranks that own some of the words each: sums of outputs and rows of gradients are those of one
/// rank, to the bit; some ranks own no word.
TYPED_TEST(Embedding, RanksGiveTheBitsOfOne) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t V = 5, D = 19, tokens = 8;
  const auto ids = to_device(std::vector<token_t>{4, 0, 3, 3, 1, 4, 2, 3});
  const auto weight = strided_random_matrix<T>(V, D, D + 4, 1);
  const auto dy = strided_random_matrix<T>(tokens, D, D + 3, 2);
  const View2<T> y("elastic::test::y", tokens, D);
  const View2<A> dweight("elastic::test::dweight", V, D);
  embedding_forward<T>(ExecutionSpace(), ids, weight, y);
  embedding_backward<T>(ExecutionSpace(), ids, dy, dweight);
  for (const int ranks : {2, 3, 8}) {
    std::vector<View2<A>> part;  // sums over ranks are formed in A
    for (int r = 0; r < ranks; ++r) {
      const Shard shard{r, ranks};
      const auto of_rank = random_matrix<T>(tokens, D, 9);  // must be overwritten
      embedding_forward<T>(ExecutionSpace(), ids, rows_of(weight, shard), of_rank, shard);
      part.push_back(stored_as<A>(of_rank));
      const View2<A> mine("elastic::test::dweight", local_count(V, shard), D);
      embedding_backward<T>(ExecutionSpace(), ids, dy, mine, shard);
      EXPECT_TRUE(bitwise_equal(mine, rows_of(dweight, shard))) << r << " of " << ranks;
    }
    EXPECT_TRUE(bitwise_equal(stored_as<T>(sum_over_ranks(part)), y)) << ranks;
  }
}

/// Thousands of tokens of few words, alone and on ranks: sums in the order of the tokens, whatever
/// stands between two tokens of a word.
TYPED_TEST(Embedding, ManyTokensOfOneWordAreAddedInOrder) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t V = 9, D = 21, count = 2503;
  std::vector<token_t> words(count);
  for (index_t t = 0; t < count; ++t)
    words[t] = t < 1100 ? token_t(t % 3) : static_cast<token_t>((t * t + t / 7) % V);
  const auto ids = to_device(words);
  const auto dy = random_matrix<T>(count, D, 1);
  const auto values = to_host(dy);
  for (const int ranks : {1, 2}) {
    const Shard shard{ranks - 1, ranks};
    const View2<A> dweight("elastic::test::dweight", local_count(V, shard), D);
    embedding_backward<T>(ExecutionSpace(), ids, dy, dweight, shard);
    std::vector<A> expected(dweight.size());
    for (index_t t = 0; t < count; ++t)
      if (words[t] % ranks == shard.rank)
        for (index_t j = 0; j < D; ++j)
          expected[words[t] / ranks * D + j] += widen(values[t * D + j]);
    EXPECT_TRUE(bitwise_equal(to_host(dweight), expected)) << ranks;
  }
}

/// Tokens above 2^16 find their rows, and no others.
TYPED_TEST(Embedding, LargeIds) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t V = 70000, D = 3;
  const auto weight = random_matrix<T>(V, D, 1);
  const auto ids = to_device(std::vector<token_t>{69999, 65536, 0});
  const View2<T> y("elastic::test::y", 3, D);
  const View2<A> dweight("elastic::test::dweight", V, D);
  embedding_forward<T>(ExecutionSpace(), ids, weight, y);
  const auto w = to_host(weight), h_y = to_host(y);
  for (index_t j = 0; j < D; ++j) {
    EXPECT_EQ(h_y[j], w[69999 * D + j]);
    EXPECT_EQ(h_y[D + j], w[65536 * D + j]);
  }
  embedding_backward<T>(ExecutionSpace(), ids, y, dweight);
  index_t touched = 0;
  for (const A value : to_host(dweight)) touched += value != 0 ? 1 : 0;
  EXPECT_EQ(touched, 3 * D);
}

TYPED_TEST(Embedding, NoTokensAreAllowedAndWrongExtentsAreNamed) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const ExecutionSpace exec;
  const auto weight = random_matrix<T>(5, 4, 1);
  const View1<token_t> none("elastic::test::ids", 0), two("elastic::test::ids", 2);
  embedding_forward<T>(exec, none, weight, View2<T>("elastic::test::y", 0, 4));
  const auto bad = random_matrix<T>(3, 4, 1);
  EXPECT_TRUE(refuses([&] { embedding_forward<T>(exec, two, weight, bad); },
                      "y is [3, 4], expected [2, 4]"));
  EXPECT_TRUE(refuses([&] { embedding_backward<T>(exec, two, bad, stored_as<A>(weight)); },
                      "dy is [3, 4], expected [2, 4]"));
}

}  // namespace
}  // namespace elastic::kernels
