// SPDX-License-Identifier: Apache-2.0
// Mixers on sequences that are cut into spans, all of them on one rank: outputs and gradients are
// those of whole sequences. (Spans on several ranks: model/test_mpi_context_parallel.cpp.)
#include <map>

#include "unit_tests/layers/layer_problem.hpp"

namespace elastic::test {
namespace {

constexpr index_t batch = 2, length = 32, halo = 3;

/// The documents of the tokens of both sequences; short ones, and one over several spans.
std::vector<token_t> documents() {
  std::vector<token_t> segment;
  for (index_t b = 0; b < batch; ++b)
    for (index_t t = 0; t < length; ++t)
      segment.push_back(t < 2 + b ? 0 : t < 5 ? 1 : t < 23 + b ? 2 : 3);
  return segment;
}

/// One layer on `tokens` rows of input.
template <class T>
struct SpanProblem {
  /// Whole sequences, or with `spans` their rows in the order of the spans.
  SpanProblem(const ModelShape& shape, index_t hidden, bool segments, Spans* spans = nullptr)
      : layer(make_layer<T>(shape, 0, store)), hidden(hidden) {
    store.allocate(true);
    randomize(store, 33);
    const auto rows_here = [&](std::uint32_t seed) {
      auto values = random_values<T>(batch * length * hidden, seed);
      return to_device(spans ? spans->rows_here(values, batch) : values, batch * length, hidden);
    };
    u = rows_here(31);
    c = rows_here(32);
    y = View2<Accumulate<T>>("elastic::test::y", batch * length, hidden);
    du = View2<Accumulate<T>>("elastic::test::du", batch * length, hidden);
    context = {.exec = {}, .arena = &arena, .batch = batch, .seq_length = length, .segment = {}};
    if (segments) segment = to_device(documents());
    context.segment = segment;
    if (!spans) return;
    spans->set_segments({}, batch, segments ? documents() : std::vector<token_t>{});
    context.segment = spans->segment();
    context.spans = spans;
    context.batch = batch * spans->num_here();
    context.seq_length = length / spans->layout().num_spans;
  }
  void differentiate(const LayerActive<T>& active) {
    const Arena::Scope scope(arena);
    const auto saved = layer->make_saved();
    layer->forward(context, active, u, y, *saved);
    layer->backward(context, active, c, u, *saved, du);
  }

  ParameterStore<T> store;
  std::unique_ptr<Layer<T>> layer;
  index_t hidden;
  Arena arena;
  LayerContext context;
  View1<token_t> segment;
  View2<T> u, c;
  View2<Accumulate<T>> y, du;
};

template <class T>
LayerActive<T> widths_of(const ModelShape& shape, const SubmodelSpec& spec, bool soft) {
  auto active = prefix_widths<T>(shape, spec).layers[0];
  if (soft) soften(shape, active);
  return active;
}

template <class T>
void check_spans(const ModelShape& shape, const SubmodelSpec& spec, const SpanLayout& layout,
                 bool segments, bool soft) {
  SCOPED_TRACE(fmt::format("{}, {} spans, segments {}, soft {}", describe(shape, spec),
                           layout.num_spans, segments, soft));
  const auto self = Communicator::self();
  Spans spans(self, layout, halo);
  SpanProblem<T> whole(shape, spec.hidden_size, segments),
      cut(shape, spec.hidden_size, segments, &spans);
  const auto whole_widths = widths_of<T>(shape, spec, soft),
             cut_widths = widths_of<T>(shape, spec, soft);
  whole.differentiate(whole_widths);
  cut.differentiate(cut_widths);
  const double tol = layer_tolerance<T>(400);
  EXPECT_TRUE(near(cut.y, spans.rows_here(to_host(whole.y), batch), tol));
  EXPECT_TRUE(near(cut.du, spans.rows_here(to_host(whole.du), batch), tol));
  for (index_t i = 0; i < whole.store.size(); ++i)
    EXPECT_TRUE(near(cut.store[i].gradient, to_host(whole.store[i].gradient), tol))
        << whole.store[i].info.name;
  EXPECT_TRUE(near(cut_widths.inner.gradient, to_host(whole_widths.inner.gradient), tol));
  EXPECT_TRUE(near(cut_widths.heads.gradient, to_host(whole_widths.heads.gradient), tol));
}

TEST(LayerSpans, GiveWhatWholeSequencesGive) {
  for (const std::string kind : {"M", "*", "-"}) {
    const auto shape = one_layer(kind);
    for (const auto& layout : {SpanLayout::balanced({}), SpanLayout::fixed({})})
      for (const bool segments : {false, true}) {
        check_spans<bfloat16>(shape, full_spec(shape), layout, segments, false);
        check_spans<float>(shape, full_spec(shape), layout, segments, false);
        for (const bool soft : {false, true})
          check_spans<double>(shape, narrow_spec(shape), layout, segments, soft);
      }
  }
}

/// Counts how often each gradient was given away.
class CountedSums final : public BlockSums {
 public:
  using BlockSums::take;
  void take(const View1<double>& gradient) override {
    if (gradient.size() > 0) ++counts[gradient.data()];
  }
  std::map<const double*, int> counts;
};

TEST(LayerSpans, EverySpanInTurnIsABlockOfGradients) {
  for (const std::string kind : {"M", "*", "-"}) {
    SCOPED_TRACE(kind);
    const auto shape = one_layer(kind);
    const auto self = Communicator::self();
    Spans spans(self, SpanLayout::fixed({}), halo);
    SpanProblem<double> problem(shape, 7, true, &spans);
    CountedSums sums;
    problem.context.sums = &sums;
    problem.differentiate(widths_of<double>(shape, full_spec(shape), false));
    for (const auto& p : problem.store)
      EXPECT_EQ(sums.counts[p.gradient.data()], sum_classes) << p.info.name;
  }
}

}  // namespace
}  // namespace elastic::test
