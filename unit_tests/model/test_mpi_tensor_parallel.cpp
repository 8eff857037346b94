// SPDX-License-Identifier: Apache-2.0
// A model on the ranks of a tensor-parallel group against the model on one rank: losses, logits,
// gradients of every tensor and of every choice; to the bit in deterministic mode.
#include <gtest/gtest.h>

#include "comm/collectives.hpp"
#include "elastic/soft_widths.hpp"
#include "unit_tests/model/wide_model.hpp"

namespace elastic::test {
namespace {

/// One problem twice: on all ranks together, and on this rank alone.
template <class T>
class Pair {
 public:
  Pair(bool deterministic, bool sequence_parallel, bool teacher)
      : m_deterministic(deterministic), m_group(Communicator::world()) {
    m_group.set_deterministic(deterministic);
    for (const bool parallel : {true, false}) {
      const TensorParallel how =
          parallel ? TensorParallel(m_group, sequence_parallel) : TensorParallel();
      auto& problem = parallel ? together : alone;
      problem =
          std::make_unique<ModelProblem<T>>(wide_parent(), 1, std::vector<index_t>{6, 11}, how);
      problem->config.tokens_per_chunk = 7;
      problem->context.deterministic = deterministic;
      if (teacher) problem->add_teacher();
    }
  }

  template <class U>
  void expect_close(const View2<U>& actual, const std::vector<U>& expected, double tol,
                    const std::string& what) const {
    if (m_deterministic) {
      EXPECT_TRUE(bitwise_equal(actual, expected)) << what;
    } else {
      EXPECT_TRUE(near(actual, expected, tol)) << what;
    }
  }
  /// After differentiate() on both.
  void expect_same_gradients(double tol) const {
    const auto& store = together->model.parameters();
    for (const auto& p : store) {
      const auto* whole = alone->model.parameters().find(p.info.name);
      if (together->model.parallel().sequence_parallel() && !p.info.sharded())
        all_reduce_sum(m_group, p.gradient);  // every rank has seen some tokens
      expect_close(p.gradient, part_of_whole(store, p, to_host(whole->gradient)), tol, p.info.name);
    }
  }
  const Communicator& group() const { return m_group; }

  std::unique_ptr<ModelProblem<T>> together, alone;

 private:
  bool m_deterministic;
  Communicator m_group;
};

template <class T>
void check_spec(const SubmodelSpec& spec, bool deterministic, bool sequence_parallel, Keep keep) {
  SCOPED_TRACE(fmt::format("{}{}{}", describe(wide_parent(), spec),
                           deterministic ? ", deterministic" : "",
                           sequence_parallel ? ", sequence parallel" : ""));
  Pair<T> pair(deterministic, sequence_parallel, true);
  const auto widths = pair.together->model.widths(spec), own = pair.alone->model.widths(spec);
  const double tol = std::max(20 * tolerance<T>(500), model_tolerance<T>(500));
  pair.expect_close(to_device(pair.together->logits(widths), 17, 51), pair.alone->logits(own), tol,
                    "logits");
  const LossSums sums = pair.together->differentiate(widths, keep),
                 expected = pair.alone->differentiate(own, keep);
  EXPECT_NEAR(sums.cross_entropy, expected.cross_entropy, deterministic ? 0 : 50 * tol);
  EXPECT_NEAR(sums.kl, expected.kl, deterministic ? 0 : 50 * tol);
  pair.expect_same_gradients(tol);
}

TEST(TensorParallel, SubmodelsEqualThoseOfOneRank) {
  for (const auto& spec : {full_spec(wide_parent()), narrow_spec_of_wide()})
    for (const bool sequence_parallel : {false, true})
      for (const Keep keep : {Keep::everything, Keep::inputs}) {
        check_spec<double>(spec, false, sequence_parallel, keep);
        check_spec<float>(spec, false, sequence_parallel, keep);
        check_spec<bfloat16>(spec, false, sequence_parallel, keep);
      }
}

TEST(TensorParallel, DeterministicModeGivesTheBitsOfOneRank) {
  for (const auto& spec : {full_spec(wide_parent()), narrow_spec_of_wide()})
    for (const Keep keep : {Keep::everything, Keep::inputs}) {
      check_spec<float>(spec, true, false, keep);
      check_spec<bfloat16>(spec, true, false, keep);
    }
}

template <class T>
void check_choices(bool deterministic, bool sequence_parallel, double tol) {
  Pair<T> pair(deterministic, sequence_parallel, true);
  const auto space = wide_space();
  SoftWidths<T> together(wide_parent(), space, 1e-3, pair.together->model.shard()),
      alone(wide_parent(), space);
  const Probabilities pi = random_probabilities(together.decisions());
  pair.together->differentiate(together.set({}, pi));
  pair.alone->differentiate(alone.set({}, pi));
  pair.expect_same_gradients(tol);
  if (sequence_parallel)
    all_reduce_sum(pair.group(), prefix(together.gradients(), together.num_shared_gradients()));
  auto dpi = together.gradient({});
  const auto expected = alone.gradient({});
  for (std::size_t d = 0; d < dpi.size(); ++d) {
    all_reduce_sum(pair.group(), dpi[d]);
    for (std::size_t i = 0; i < dpi[d].size(); ++i)
      EXPECT_NEAR(dpi[d][i], expected[d][i],
                  deterministic ? 0 : tol * std::max(1.0, std::abs(expected[d][i])))
          << axis_name(together.decisions()[d].axis) << " " << i;
  }
}

TEST(TensorParallel, GradientsOfEveryChoice) {
  check_choices<double>(false, false, 1e-7);
  check_choices<double>(false, true, 1e-7);
  check_choices<float>(false, true, 1e-3);
  check_choices<float>(true, false, 0);
  check_choices<bfloat16>(true, false, 0);
}

TEST(TensorParallel, TokensAreSharedOutContiguously) {
  const auto world = Communicator::world();
  const TensorParallel parallel(world, true);
  index_t sum = all_reduce_sum(world, parallel.num_my_tokens(17));
  EXPECT_EQ(sum, 17);
  EXPECT_EQ(TensorParallel().num_my_tokens(17), 17);
}

}  // namespace
}  // namespace elastic::test
