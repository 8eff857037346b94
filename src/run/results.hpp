// SPDX-License-Identifier: Apache-2.0
// results.json: what a run achieved, per budget.
#pragma once
#include <optional>

#include "config/curriculum.hpp"
#include "run/folder/run_folder.hpp"
#include "train/validation.hpp"

namespace elastic {

/// One cost of a submodel, in its unit and as a part of the parent's.
struct CostResult {
  BudgetKind kind = BudgetKind::parameters;
  double value = 0, relative = 0;
  /// In seconds: of the whole submodel, besides the value that the terms predict.
  std::optional<double> measured = {}, measured_relative = {};
};

/// What one submodel achieved.
struct BudgetResult {
  SubmodelSpec spec;
  bool trained = true;      ///< false: interpolated between trained budgets
  std::string description;  ///< widths in words
  double parameters = 0;
  std::vector<CostResult> costs;  ///< one for each kind that the budgets count
  double forward_flops_per_token = 0;
  ValidationResult validation;
  std::optional<double> accuracy = {}, accuracy_cut_untrained = {};
  double valid_loss_cut_untrained = 0;
  double max_abs_diff_sliced_vs_prefix = 0, max_abs_diff_masked_vs_prefix = 0;
  std::uintmax_t sliced_file_bytes = 0;
};

/// Answers where one submodel thinks, up to the marker, and another goes on (train/validation.hpp).
struct PairResult {
  std::string thinks, answers;  ///< names of the submodels
  double accuracy = 0;
  double thought_tokens = 0, answer_tokens = 0;  ///< means per problem
  /// Means per generated token.
  double parameters = 0, relative_cost = 0, flops_per_token = 0;
};

/// Times of the steps of a stage that this job ran.
struct StageResult {
  std::string name;
  std::vector<double> step_seconds;
};

/// What a run did and achieved.
struct RunResults {
  std::string name, version;
  std::uint64_t deck_hash = 0;
  int ranks = 1;
  index_t steps = 0, tokens = 0;
  double parent_parameters = 0, parent_valid_loss = 0;
  std::optional<double> parent_accuracy;
  std::uintmax_t model_file_bytes = 0, extra_bytes_per_submodel = 0;  ///< of model.h5
  double seconds = 0, tokens_per_second = 0;                          ///< of training in this job
  std::vector<StageResult> stages;
  std::vector<BudgetResult> budgets;
  std::string switch_marker = {};      ///< of the pairs
  std::vector<PairResult> pairs = {};  ///< every ordered pair; empty without a marker
};

/// Writes results.json. Call on one rank. Throws RunError.
void write_results(const RunFolder& folder, const RunResults& results);
/// The results per budget as a table for people.
std::string describe(const RunResults& results);

}  // namespace elastic
