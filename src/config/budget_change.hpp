// SPDX-License-Identifier: Apache-2.0
// Changes of budget in a text, as people write them:
//
//   BUDGET@N        this budget goes on after N generated tokens
//   BUDGET@MARKER   it goes on after the marker: TEXT or text:TEXT in the vocabulary of the data,
//                   or token:ID
//
// What begins with a digit or a sign and a digit is a number: the text 12 is written text:12.
#pragma once
#include <string>
#include <vector>

#include "config/run_config.hpp"
#include "deck/report.hpp"

namespace elastic {

/// One change of budget.
struct BudgetChange {
  std::string budget;
  index_t after = 0;            ///< generated tokens; 0: a marker decides
  std::vector<token_t> marker;  ///< empty: a number does
};

/// Tokens of a marker. Throws InputError saying what is wrong with the text: it is empty, has no
/// tokens, or holds the token that ends a text, after which nothing goes on.
std::vector<token_t> read_marker(const DataConfig& data, const std::string& text);

/// Changes in their order. Throws InputError naming the one that is no change, or whose N does not
/// rise.
std::vector<BudgetChange> read_budget_changes(const DataConfig& data,
                                              const std::vector<std::string>& texts);

/// Adds the mistakes of <generate> and <evaluate>/switch_marker.
void check_budget_changes(DeckReport& report, const RunConfig& config);

}  // namespace elastic
