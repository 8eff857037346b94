// SPDX-License-Identifier: Apache-2.0
// Spans on a few ranks: what each holds, and what passes between them.
#include <gtest/gtest.h>

#include "parallel/spans.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

using kernels::Direction;
constexpr index_t batch = 2, span_length = 5, columns = 3;

struct Case {
  explicit Case(bool fixed)
      : group(Communicator::world()),
        spans(group, layout(fixed), 2),
        length(span_length * spans.layout().num_spans) {
    group.set_deterministic(fixed);
    for (index_t i = 0; i < batch * length * columns; ++i)
      whole.push_back(static_cast<double>(i % 97) + 0.25);
    mine = to_device(spans.rows_here(whole, batch), rows_here(), columns);
    segment.resize(batch * length);
    for (index_t t = 0; t < batch * length; ++t) segment[t] = static_cast<token_t>(t / 7);
    spans.set_segments({}, batch, segment);
  }
  SpanLayout layout(bool fixed) const {
    const Shard rank{group.rank(), group.size()};
    return fixed ? SpanLayout::fixed(rank) : SpanLayout::balanced(rank);
  }
  index_t rows_here() const { return batch * span_length * spans.num_here(); }

  Communicator group;
  Spans spans;
  index_t length;
  Arena arena;
  std::vector<double> whole;
  View2<double> mine;
  std::vector<token_t> segment;
};

void with_both(const std::function<void(Case&)>& check) {
  for (const bool fixed : {false, true}) {
    SCOPED_TRACE(fixed ? "fixed spans in turn" : "two spans per rank");
    const int ranks = Communicator::world().size();
    if (fixed && SpanLayout::fixed({0, ranks}).num_spans % ranks != 0) continue;  // 3 ranks
    Case c(fixed);
    check(c);
  }
}

TEST(Spans, EverySpanBelongsToOneRank) {
  for (const int ranks : {1, 2, 4, 8})
    for (const bool fixed : {false, true}) {
      const auto layout = [&](int r) {
        return fixed ? SpanLayout::fixed({r, ranks}) : SpanLayout::balanced({r, ranks});
      };
      std::vector<int> seen(static_cast<std::size_t>(layout(0).num_spans), 0);
      index_t most = 0, least = 1 << 20;
      for (int r = 0; r < ranks; ++r) {
        index_t sum = 0;  // what causal attention costs grows with the position
        for (index_t slot = 0; slot < layout(r).num_here(); ++slot) {
          const index_t span = layout(r).span(slot);
          ++seen[static_cast<std::size_t>(span)];
          EXPECT_EQ(layout(r).place(span), r * layout(r).num_here() + slot);
          sum += span;
        }
        most = std::max(most, sum);
        least = std::min(least, sum);
      }
      for (const int count : seen) EXPECT_EQ(count, 1);
      if (!fixed) {
        EXPECT_EQ(most, least);
      }
    }
}

TEST(Spans, WholeSequencesFromSpans) {
  with_both([](Case& c) {
    EXPECT_TRUE(bitwise_equal(c.spans.whole(c.arena, c.mine), c.whole));
    EXPECT_TRUE(bitwise_equal(c.spans.whole_segment(), c.segment));
    EXPECT_TRUE(bitwise_equal(c.spans.segment(), c.spans.rows_here(c.segment, batch)));
  });
}

TEST(Spans, NeighboursAndTheirDocuments) {
  with_both([](Case& c) {
    const index_t spans = c.spans.layout().num_spans, here = c.spans.num_here();
    std::vector<double> numbers, before, behind;
    std::vector<token_t> segment_before, past, future;
    const auto document = [&](index_t b, index_t t) {
      return t < 0 || t >= c.length ? -1 : c.segment[static_cast<std::size_t>(b * c.length + t)];
    };
    for (index_t slot = 0; slot < here; ++slot)
      for (index_t b = 0; b < batch; ++b) {
        const index_t span = c.spans.layout().span(slot), first = span * span_length;
        const auto number = [&](index_t s) {
          return s < 0 || s >= spans ? 0.0 : static_cast<double>(100 * b + s + 1);
        };
        numbers.push_back(number(span));
        before.push_back(number(span - 1));
        behind.push_back(number(span + 1));
        segment_before.push_back(document(b, first - 1));
        for (const index_t back : {2, 1}) past.push_back(document(b, first - back));
        for (const index_t on : {0, 1}) future.push_back(document(b, first + span_length + on));
      }
    const auto mine = to_device(numbers, here * batch, 1);
    EXPECT_TRUE(bitwise_equal(c.spans.from_before(c.arena, mine), before));
    EXPECT_TRUE(bitwise_equal(c.spans.from_behind(c.arena, mine), behind));
    EXPECT_TRUE(bitwise_equal(c.spans.segment_before(), segment_before));
    EXPECT_TRUE(bitwise_equal(c.spans.past_segment(), past));
    EXPECT_TRUE(bitwise_equal(c.spans.future_segment(), future));
  });
}

/// Parts of all spans, of which the sum is known in integers.
TEST(Spans, SumsOverSpans) {
  with_both([](Case& c) {
    const index_t spans = c.spans.layout().num_spans;
    std::vector<View2<double>> parts;
    for (index_t slot = 0; slot < c.spans.num_here(); ++slot) {
      auto part = c.whole;
      for (double& x : part) x *= static_cast<double>(c.spans.layout().span(slot) + 1);
      parts.push_back(to_device(part, batch * c.length, columns));
    }
    auto expected = c.spans.rows_here(c.whole, batch);
    for (double& x : expected) x *= static_cast<double>(spans * (spans + 1) / 2);
    const View2<double> sum("elastic::test::sum", c.rows_here(), columns);
    c.spans.sum_parts(c.arena, parts, sum);
    EXPECT_TRUE(bitwise_equal(sum, expected));
  });
}

/// out = decay in + total along the spans, in both ways of computing it.
TEST(Spans, StatesAreCarriedFromSpanToSpan) {
  with_both([](Case& c) {
    const index_t spans = c.spans.layout().num_spans, here = c.spans.num_here();
    const auto total_of = [](index_t span, index_t b) { return static_cast<double>(3 * span + b); };
    const auto decay_of = [](index_t span, index_t b) {
      return span % 3 == 2 ? 0.0 : 0.5 + 0.25 * static_cast<double>(b);
    };
    for (const Direction direction : {Direction::forward, Direction::backward}) {
      std::vector<std::vector<double>> carried(batch, std::vector<double>(spans));
      for (index_t b = 0; b < batch; ++b) {
        double state = 0;
        for (index_t i = 0; i < spans; ++i) {
          const index_t span = direction == Direction::forward ? i : spans - 1 - i;
          carried[b][span] = state;
          state = decay_of(span, b) * state + total_of(span, b);
        }
      }
      std::vector<double> total, decay, expected;
      for (index_t slot = 0; slot < here; ++slot)
        for (index_t b = 0; b < batch; ++b) {
          const index_t span = c.spans.layout().span(slot);
          total.push_back(total_of(span, b));
          decay.push_back(decay_of(span, b));
          expected.push_back(carried[b][span]);
        }
      const View2<double> in("elastic::test::in", here * batch, 1),
          out("elastic::test::out", here * batch, 1);
      c.spans.carry(c.arena, direction, to_device(total, here * batch, 1), to_device(decay), in);
      EXPECT_TRUE(near(in, expected, tolerance<double>(16)));
      if (!c.spans.layout().in_turn) continue;
      Kokkos::deep_copy(in, -1.0);
      c.spans.carry_in_turn(direction, in, out, [&](const TokenBlock& block) {
        for (index_t i = block.number * batch; i < (block.number + 1) * batch; ++i) {
          const auto state = to_host(in)[static_cast<std::size_t>(i)];
          Kokkos::deep_copy(rows(out, i, i + 1), decay[i] * state + total[i]);
        }
      });
      EXPECT_TRUE(near(in, expected, tolerance<double>(16)));
    }
  });
}

}  // namespace
}  // namespace elastic::test
