// SPDX-License-Identifier: Apache-2.0
// A model whose sequences are cut into spans on several ranks: losses, logits, gradients of every
// tensor and of every choice. They are compared with the model on whole sequences and, to the bit
// in deterministic mode, with these spans on one rank.
#include <gtest/gtest.h>

#include "comm/collectives.hpp"
#include "elastic/soft_widths.hpp"
#include "parallel/process_grid.hpp"
#include "kernels/update/fixed_point.hpp"
#include "unit_tests/model/wide_model.hpp"

namespace elastic::test {
namespace {

constexpr index_t whole_length = 40, halo = 3;

struct Layout {
  int tensor = 1;
  bool sequence_parallel = false;
};
std::vector<Layout> layouts() {
  std::vector<Layout> all{{1, false}};
  if (Communicator::world().size() % 2 == 0 && Communicator::world().size() > 2) {
    all.push_back({2, false});
    all.push_back({2, true});
  }
  return all;
}
const std::vector<std::vector<index_t>> document_lists = {{whole_length}, {6, 11, 23}, {10, 1, 29}};

/// Adds blocks as integers.
class IntegerSums final : public BlockSums {
 public:
  explicit IntegerSums(std::vector<View1<float>> buffers) : m_buffers(std::move(buffers)) {
    for (const auto& buffer : m_buffers) {
      Kokkos::deep_copy(buffer, 0.0f);
      sums.emplace_back("elastic::test::sums", buffer.extent(0));
    }
  }
  void take(const View1<float>& part) override {
    for (std::size_t i = 0; i < m_buffers.size() && part.size() > 0; ++i) {
      const index_t begin = part.data() - m_buffers[i].data();
      if (begin < 0 || begin >= m_buffers[i].extent_int(0)) continue;
      kernels::accumulate_fixed_point<float>(
          {}, part, 0x1p20, Kokkos::subview(sums[i], Range(begin, begin + part.extent_int(0))),
          m_overflow);
      Kokkos::deep_copy(part, 0.0f);
    }
  }
  /// To the buffers, over the ranks of `group`; nothing may have been left there.
  void finish(const Communicator& group) {
    EXPECT_EQ(to_host(m_overflow)[0], 0);
    for (std::size_t i = 0; i < m_buffers.size(); ++i) {
      for (const float left : to_host(m_buffers[i])) ASSERT_EQ(left, 0.0f);
      all_reduce_sum(group, sums[i]);
      kernels::add_fixed_point<float>({}, sums[i], m_buffers[i]);
    }
  }
  std::vector<View1<index_t>> sums;

 private:
  std::vector<View1<float>> m_buffers;
  View1<index_t> m_overflow{"elastic::test::overflow", 1};
};

/// A problem on this rank's spans.
template <class T>
struct Spanned {
  Spanned(const Communicator& group, bool fixed, const TensorParallel& parallel, index_t batch_,
          const std::vector<index_t>& documents)
      : spans(group, layout(group, fixed), halo),
        batch(batch_),
        problem(wide_parent(), batch_, documents, parallel) {
    problem.config.tokens_per_chunk = 7;
    problem.context.deterministic = fixed;
    problem.add_teacher();
    auto& p = problem;
    spans.set_segments({}, batch, to_host(p.context.segment));
    p.tokens = to_device(mine(p.tokens));
    p.targets = to_device(mine(p.targets));
    p.weight = to_device(mine(p.weight));
    p.teacher_hidden = to_device(mine(p.teacher_hidden), p.tokens.extent_int(0), 9);
    p.context.segment = spans.segment();
    p.context.spans = &spans;
    p.context.batch = batch * spans.num_here();
    p.context.seq_length = whole_length / spans.layout().num_spans;
  }
  static SpanLayout layout(const Communicator& group, bool fixed) {
    const Shard rank{group.rank(), group.size()};
    return fixed ? SpanLayout::fixed(rank) : SpanLayout::balanced(rank);
  }
  /// Rows of whole sequences that belong here.
  template <class V>
  auto mine(const V& whole) const {
    return spans.rows_here(to_host(whole), batch);
  }

  Spans spans;
  index_t batch;
  ModelProblem<T> problem;
};

template <class T>
class ContextParallelPair {
 public:
  ContextParallelPair(const Layout& layout, bool deterministic, index_t batch,
                      const std::vector<index_t>& documents)
      : deterministic(deterministic),
        grid(world(deterministic), {layout.tensor, Communicator::world().size() / layout.tensor}),
        self(Communicator::self()),
        together(grid.context, deterministic, TensorParallel(grid.tensor, layout.sequence_parallel),
                 batch, documents),
        alone(self, deterministic, {}, batch, documents),
        whole(wide_parent(), batch, documents) {
    whole.config = together.problem.config;
    whole.add_teacher();
  }

  /// What the ranks are compared with: their spans on this rank alone, or whole sequences.
  ModelProblem<T>& expected() { return deterministic ? alone.problem : whole; }
  bool sequence_parallel() const { return together.problem.model.parallel().sequence_parallel(); }

  template <class U>
  void expect_close(const View2<U>& actual, const std::vector<U>& reference, double tol,
                    const std::string& what) const {
    if (deterministic) {
      EXPECT_TRUE(bitwise_equal(actual, reference)) << what;
    } else {
      EXPECT_TRUE(near(actual, reference, tol)) << what;
    }
  }
  void expect_close(double actual, double reference, double tol) const {
    EXPECT_NEAR(actual, reference, deterministic ? 0 : tol * std::max(1.0, std::abs(reference)));
  }

  void check_logits(const SubmodelSpec& spec, double tol) {
    auto& p = together.problem;
    const auto logits = p.logits(p.model.widths(spec));
    const auto reference = expected().logits(expected().model.widths(spec));
    // One rank in turn has all spans in order.
    expect_close(to_device(logits, p.tokens.extent_int(0), 51),
                 together.spans.rows_here(reference, together.batch), tol, "logits");
  }
  /// Losses and gradients; masks' are left in the buffers of the widths.
  void check_gradients(const ActiveWidths<T>& widths, const ActiveWidths<T>& own, double tol,
                       Keep keep = Keep::everything, const SoftWidths<T>* masks = nullptr,
                       const SoftWidths<T>* own_masks = nullptr) {
    LossSums sums = differentiate(together.problem, grid.context, widths, keep, masks);
    const LossSums reference = differentiate(expected(), self, own, keep, own_masks);
    expect_close(all_reduce_sum(grid.context, sums.cross_entropy), reference.cross_entropy, tol);
    expect_close(all_reduce_sum(grid.context, sums.kl), reference.kl, tol);
    const auto& store = together.problem.model.parameters();
    for (const auto& p : store) {
      if (!deterministic) all_reduce_sum(grid.context, p.gradient);
      if (sequence_parallel() && !p.info.sharded()) all_reduce_sum(grid.tensor, p.gradient);
      const auto* one = expected().model.parameters().find(p.info.name);
      expect_close(p.gradient, part_of_whole(store, p, to_host(one->gradient)), tol, p.info.name);
    }
  }

  bool deterministic;
  ProcessGrid grid;
  Communicator self;
  Spanned<T> together, alone;
  ModelProblem<T> whole;

 private:
  static Communicator world(bool deterministic) {
    auto all = Communicator::world();
    all.set_deterministic(deterministic);
    return all;
  }
  LossSums differentiate(ModelProblem<T>& problem, const Communicator& group,
                         const ActiveWidths<T>& widths, Keep keep, const SoftWidths<T>* masks) {
    if constexpr (std::is_same_v<Accumulate<T>, float>) {
      if (deterministic) {
        std::vector<View1<float>> buffers{problem.model.parameters().gradients()};
        if (masks) buffers.push_back(masks->gradients());
        IntegerSums sums(buffers);
        problem.context.sums = &sums;
        const LossSums losses = problem.differentiate(widths, keep);
        sums.finish(group);
        problem.context.sums = nullptr;
        return losses;
      }
    }
    const LossSums losses = problem.differentiate(widths, keep);
    if (masks) all_reduce_sum(group, masks->gradients());
    return losses;
  }
};

template <class T>
void check_submodels(bool deterministic, index_t batch) {
  const double tol = std::max(20 * tolerance<T>(500), model_tolerance<T>(500));
  for (const auto& layout : layouts())
    for (const auto& documents : document_lists) {
      if (deterministic && layout.sequence_parallel) continue;
      ContextParallelPair<T> pair(layout, deterministic, batch, documents);
      for (const auto& spec : {full_spec(wide_parent()), narrow_spec_of_wide()})
        for (const Keep keep : {Keep::everything, Keep::inputs}) {
          SCOPED_TRACE(fmt::format("{}, tensor {}, {} documents{}", describe(wide_parent(), spec),
                                   layout.tensor, documents.size(),
                                   layout.sequence_parallel ? ", sequence parallel" : ""));
          pair.check_logits(spec, tol);
          pair.check_gradients(pair.together.problem.model.widths(spec),
                               pair.expected().model.widths(spec), tol, keep);
        }
    }
}
TEST(ContextParallel, SubmodelsEqualThoseOfWholeSequences) {
  check_submodels<double>(false, 2);
  check_submodels<float>(false, 2);
  check_submodels<bfloat16>(false, 2);
}
TEST(ContextParallel, DeterministicModeGivesTheBitsOfOneRank) {
  check_submodels<float>(true, 1);
  check_submodels<bfloat16>(true, 1);
}

template <class T>
void check_choices(bool deterministic, double tol) {
  for (const auto& layout : layouts()) {
    if (deterministic && layout.sequence_parallel) continue;
    ContextParallelPair<T> pair(layout, deterministic, 1, document_lists[1]);
    const auto& model = pair.together.problem.model;
    SoftWidths<T> together(wide_parent(), wide_space(), 1e-3, model.shard()),
        alone(wide_parent(), wide_space());
    const Probabilities pi = random_probabilities(together.decisions());
    pair.check_gradients(together.set({}, pi), alone.set({}, pi), tol, Keep::everything, &together,
                         &alone);
    if (pair.sequence_parallel())
      all_reduce_sum(pair.grid.tensor,
                     prefix(together.gradients(), together.num_shared_gradients()));
    auto dpi = together.gradient({});
    const auto expected = alone.gradient({});
    for (std::size_t d = 0; d < dpi.size(); ++d) {
      all_reduce_sum(pair.grid.tensor, dpi[d]);
      for (std::size_t i = 0; i < dpi[d].size(); ++i)
        pair.expect_close(dpi[d][i], expected[d][i], tol);
    }
  }
}
TEST(ContextParallel, GradientsOfEveryChoice) {
  check_choices<double>(false, 1e-7);
  check_choices<float>(false, 1e-3);
  check_choices<float>(true, 0);
  check_choices<bfloat16>(true, 0);
}

/// Words below 20 stand in the first document only, the loss counts in the second only.
TEST(ContextParallel, DocumentsDoNotLeakAcrossSpans) {
  const auto world = Communicator::world();
  for (const bool fixed : {false, true})
    for (const index_t first : {6, 10, 15, 19, 20, 29}) {
      Spanned<double> spanned(world, fixed, {}, 1, {first, whole_length - first});
      auto& p = spanned.problem;
      std::vector<token_t> words;
      std::vector<float> weight;
      for (index_t t = 0; t < whole_length; ++t) {
        words.push_back(static_cast<token_t>(t < first ? t % 20 : 20 + t % 31));
        weight.push_back(t < first ? 0.0f : 1.0f);
      }
      const auto logits_of_second = [&] {
        p.tokens = to_device(spanned.spans.rows_here(words, 1));
        const auto logits = p.logits(p.full_widths());
        std::vector<double> second;
        const auto counts = spanned.spans.rows_here(weight, 1);
        for (std::size_t t = 0; t < counts.size(); ++t)
          if (counts[t] > 0)
            second.insert(second.end(), logits.begin() + 51 * t, logits.begin() + 51 * (t + 1));
        return second;
      };
      const auto before = logits_of_second();
      p.weight = to_device(spanned.spans.rows_here(weight, 1));
      p.differentiate(p.full_widths());
      const auto gradient = to_host(rows(p.model.word_embeddings().gradient, 0, 20));
      for (const double g : gradient) ASSERT_EQ(g, 0) << "first document of " << first;
      words[first - 1] = 19;
      EXPECT_TRUE(bitwise_equal(logits_of_second(), before)) << "first document of " << first;
    }
}

}  // namespace
}  // namespace elastic::test
