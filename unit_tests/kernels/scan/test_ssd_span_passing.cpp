// SPDX-License-Identifier: Apache-2.0
// The recurrence over spans whose contributions are all known, by hand, as a loop, and as the
// scan itself uses it.
#include "kernels/scan/ssd_span_passing.hpp"

#include "base/error.hpp"
#include "unit_tests/kernels/scan/ssd_problem.hpp"
#include "unit_tests/support/gradient.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

TEST(SsdSpanPassing, CarriesStatesOverSpansInAnyPlaces) {
  const auto totals = [] { return to_device(std::vector<double>{3, 1, 2}, 3, 1); };
  const auto places = to_device(std::vector<index_t>{1, 2, 0});  // totals 1, 2, 3 in order
  const auto decay = to_device(std::vector<double>{0.125, 0.5, 0.25});
  const auto forward = totals(), backward = totals();
  ssd_span_passing<double>({}, Direction::forward, places, decay, forward);
  EXPECT_TRUE(near(forward, std::vector<double>{2.25, 0, 1}, 1e-15));
  ssd_span_passing<double>({}, Direction::backward, places, decay, backward);
  EXPECT_TRUE(near(backward, std::vector<double>{0, 2.75, 3}, 1e-15));
}

TEST(SsdSpanPassing, RowsAreIndependent) {
  const index_t spans = 3, rows_of_span = 4, columns = 600;
  const auto places = to_device(std::vector<index_t>{2, 0, 1});
  const auto decay = random_vector<double>(spans * rows_of_span, 8);
  const auto states = random_matrix<double>(spans * rows_of_span, columns, 9), all = clone(states);
  ssd_span_passing<double>({}, Direction::forward, places, decay, all);
  const auto h_all = to_host(all), h_total = to_host(states), h_decay = to_host(decay);
  const auto h_places = to_host(places);
  for (index_t row = 0; row < rows_of_span; ++row)
    for (index_t e = 0; e < columns; ++e) {
      double carried = 0;
      for (index_t i = 0; i < spans; ++i) {
        const index_t at = h_places[i] * rows_of_span + row;
        ASSERT_NEAR(h_all[at * columns + e], carried, 1e-14);
        carried = h_decay[at] * carried + h_total[at * columns + e];
      }
    }
}

TEST(SsdSpanPassing, BackwardIsTheTranspose) {
  const index_t spans = 4, n = 3, columns = 300;
  const auto places = to_device(std::vector<index_t>{3, 0, 2, 1});
  const auto decay = random_vector<double>(spans * n, 1, 0, 1);
  const auto totals = random_matrix<double>(spans * n, columns, 2),
             gradients = random_matrix<double>(spans * n, columns, 3);
  const auto states = clone(totals), dtotals = clone(gradients);
  ssd_span_passing<double>({}, Direction::forward, places, decay, states);
  ssd_span_passing<double>({}, Direction::backward, places, decay, dtotals);
  EXPECT_NEAR(dot(states, gradients), dot(totals, dtotals), 1e-10);
  EXPECT_NE(dot(states, gradients), 0);
}

/// Totals and decays of the spans of a scan, passed here, are the states that come in when spans
/// wait for each other.
TEST(SsdSpanPassing, GivesTheStatesThatSpansHandOn) {
  const SsdProblem<double> whole({2, 30, 4, 3, 2, 5, 4}, true);
  const std::vector<index_t> borders = {0, 8, 20, 30};
  const index_t n = 8, size = 15, spans = 3;
  const View2<double> states("elastic::test::states", spans * n, size);
  const View1<double> decay("elastic::test::decay", spans * n);
  std::vector<View2<double>> expected;
  View2<double> handed_on;
  for (index_t i = 0; i < spans; ++i) {
    auto span = whole.span(borders[i], borders[i + 1]);
    const View2<double> zero("elastic::test::zero", n, size);
    span.incoming = {zero, i == 0
                               ? View1<const token_t>(rows_of_sequences(whole.segment, 2, 0, 1))
                               : rows_of_sequences(whole.segment, 2, borders[i] - 1, borders[i])};
    if (i > 0) span.incoming.state = handed_on;
    ssd_forward_states<double>({}, span.shape, span.inputs(), span.saved, span.forward_workspace());
    ssd_forward_total<double>({}, span.shape, span.inputs(), span.saved,
                              rows(states, i * n, (i + 1) * n),
                              View1<double>(Kokkos::subview(decay, Range(i * n, (i + 1) * n))));
    ssd_forward_passing<double>({}, span.shape, span.inputs(), span.saved);
    expected.push_back(i == 0 ? zero : handed_on);
    handed_on = span.saved.final_state;
  }
  const auto places = to_device(std::vector<index_t>{0, 1, 2});
  ssd_span_passing<double>({}, Direction::forward, places, decay, states);
  for (index_t i = 0; i < spans; ++i)
    EXPECT_TRUE(near(rows(states, i * n, (i + 1) * n), expected[i], 1e-13)) << "span " << i;
}

TEST(SsdSpanPassing, WrongExtentsAreContractErrors) {
  const auto places = to_device(std::vector<index_t>{0, 1, 2});
  const auto pass = [&](index_t decays, index_t rows) {
    ssd_span_passing<float>({}, Direction::forward, places, random_vector<float>(decays, 1),
                            random_matrix<float>(rows, 4, 2));
  };
  EXPECT_NO_THROW(pass(6, 6));
  EXPECT_THROW(pass(5, 6), ContractError);
  EXPECT_THROW(pass(7, 7), ContractError);  // not the same for every span
}

}  // namespace
}  // namespace elastic::kernels
