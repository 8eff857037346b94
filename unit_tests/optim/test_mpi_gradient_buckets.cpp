// SPDX-License-Identifier: Apache-2.0
// Gradients summed in buckets while others are computed: the bits of the deterministic all-reduce.
#include "optim/gradient_buckets.hpp"

#include "comm/collectives.hpp"
#include "unit_tests/optim/optim_support.hpp"

namespace elastic::test {
namespace {

template <class T>
std::vector<T> contribution(int rank, index_t count, std::uint32_t seed) {
  const auto numbers = random_values<double>(count, seed * 100 + rank, -1e6, 1e6);
  return {numbers.begin(), numbers.end()};
}

/// Checks the slices of this rank against all_reduce_sum, and that other elements are as before.
template <class T>
void expect_sums(const Communicator& comm, const FlatSlices& slices, const std::vector<T>& before,
                 const View1<T>& flat) {
  auto expected = before, sum = before;
  all_reduce_sum(comm, sum);
  for (const auto& range : slices.of(comm.rank()))
    std::copy(sum.begin() + range.first, sum.begin() + range.second,
              expected.begin() + range.first);
  EXPECT_TRUE(bitwise_equal(to_host(flat), expected));
}

template <class T>
class GradientBucketsTest : public testing::Test {};
using Scalars = testing::Types<float, double, index_t>;
TYPED_TEST_SUITE(GradientBucketsTest, Scalars);

TYPED_TEST(GradientBucketsTest, GiveTheBitsOfTheDeterministicSum) {
  using T = TypeParam;
  on_groups(true, [&](const Communicator& group) {
    // Uneven and empty slices; one bucket; many buckets.
    for (const auto& [count, bucket] : std::vector<std::pair<index_t, index_t>>{
             {0, 4}, {2, 1}, {37, 7}, {37, 100}, {20011, 1024}}) {
      const FlatSlices slices(count, group.size(), bucket);
      const View1<T> flat("elastic::test", count);
      GradientBuckets<T> buckets(group, slices, flat);
      for (int step = 1; step <= 3; ++step) {  // buffers are used again
        const auto before = contribution<T>(group.rank(), count, step);
        assign(flat, before);
        buckets.finish();
        expect_sums(group, slices, before, flat);
      }
    }
  });
}

TEST(GradientBucketsOverlap, SendWhatIsCompleteWhileTheRestIsComputed) {
  const index_t count = 5000;
  for (const int most_in_flight : {1, 2, 100})
    on_groups(true, [&](const Communicator& group) {
      const FlatSlices slices(count, group.size(), 700);
      const View1<float> flat("elastic::test", count);
      const auto gradient = contribution<float>(group.rank(), count, 5);
      GradientBuckets<float> buckets(group, slices, flat, most_in_flight);
      for (int step = 0; step < 2; ++step) {
        // "Layers" of 450 elements, the last first; ranks progress differently.
        for (index_t end = count; end > 0; end -= 450) {
          const index_t begin = std::max<index_t>(end - 450, 0);
          for (index_t i = begin; i < end; ++i)
            Kokkos::deep_copy(Kokkos::subview(flat, i), gradient[i]);
          if ((end / 450 + group.rank()) % 3 != 0) buckets.complete_from(begin);
          buckets.progress();
        }
        buckets.finish();
        expect_sums(group, slices, gradient, flat);
      }
    });
}

TEST(GradientBucketsOverlap, CollectivesOfOthersMayRunBetween) {
  on_groups(false, [&](const Communicator& group) {
    const FlatSlices slices(100, group.size(), 10);
    const auto before = std::vector<index_t>(100, group.rank() + 1);
    const auto flat = to_device(before);
    GradientBuckets<index_t> buckets(group, slices, flat);
    if (group.rank() % 2 == 0) buckets.complete_from(50);
    EXPECT_EQ(all_reduce_sum(group, 1), group.size());
    buckets.finish();
    expect_sums(group, slices, before, flat);
  });
}

TEST(GradientBucketsOverlap, RefuseWhatDoesNotFit) {
  const auto world = Communicator::world();
  const View1<float> flat("elastic::test", 10);
  EXPECT_THROW(GradientBuckets<float>(world, FlatSlices(11, world.size(), 4), flat), ContractError);
  EXPECT_THROW(GradientBuckets<float>(world, FlatSlices(10, world.size() + 1, 4), flat),
               ContractError);
  EXPECT_THROW(GradientBuckets<float>(world, FlatSlices(10, world.size(), 4), flat, 0),
               ContractError);
}

TEST(GradientBucketsOverlap, ScratchIsThatOfTheBucketsThatTravel) {
  EXPECT_EQ(GradientBuckets<float>::scratch_elements(FlatSlices(1000, 4, 100), 4), 400);
  EXPECT_EQ(GradientBuckets<float>::scratch_elements(FlatSlices(1000, 3, 100), 4), 4 * 3 * 34);
  EXPECT_EQ(GradientBuckets<float>::scratch_elements(FlatSlices(150, 2, 100), 4), 200);
  EXPECT_EQ(GradientBuckets<float>::scratch_elements(FlatSlices(1000, 1, 100), 4), 0);
}

TEST(GatherSlices, GivesEveryRankAllElements) {
  on_groups(false, [&](const Communicator& group) {
    for (const auto& [count, bucket] :
         std::vector<std::pair<index_t, index_t>>{{0, 4}, {2, 1}, {37, 7}, {20011, 1024}}) {
      const FlatSlices slices(count, group.size(), bucket);
      const auto expected = contribution<float>(9, count, 1);
      const View1<float> flat("elastic::test", count);
      auto h_flat = std::vector<float>(count, -1.0f);
      for (const auto& range : slices.of(group.rank()))
        std::copy(expected.begin() + range.first, expected.begin() + range.second,
                  h_flat.begin() + range.first);
      assign(flat, h_flat);
      gather_slices<float>(group, slices, flat);
      EXPECT_EQ(to_host(flat), expected);
    }
  });
}

}  // namespace
}  // namespace elastic::test
