// SPDX-License-Identifier: Apache-2.0
// history.csv (losses per step) and router.csv (what the router prefers, or the fixed widths of
// budgets), written by rank 0.
// No time of day stands in them: a resumed run gives the digits of one that was never interrupted.
#pragma once
#include <memory>

#include "config/curriculum.hpp"
#include "io/history.hpp"
#include "run/folder/run_folder.hpp"
#include "train/train_step.hpp"
#include "train/validation.hpp"

namespace elastic {

/// Validation of one budget (or of the parent) at a step.
struct StepValidation {
  /// Empty if not validated at this step; in pretraining one entry, the parent.
  std::vector<ValidationResult> budgets;
  std::vector<double> parameters;  ///< of each budget's submodel
};

class RunHistory {
 public:
  /// Continues existing files after `first_step` (rows beyond it are removed). Where the deck now
  /// has other budgets, the columns of both keep their values, new ones begin empty, and a table
  /// that would lose numbers stays beside the new one (history.csv.1).
  /// Does nothing on other ranks than 0.
  RunHistory(const RunFolder& folder, const RunConfig& config, index_t first_step, bool writes);
  void append(index_t step, const Stage& stage, index_t tokens, const StepMetrics& metrics,
              const StepValidation& validation);
  /// Likely and expected width of every decision, per budget. `fixed`: the widths of the budgets
  /// where no router decides (ElasticState), else empty.
  void append_router(index_t step, const Router<Accumulate<Real>>& router,
                     const std::vector<Decision>& decisions, const std::vector<RouterDraw>& fixed);
  /// Throws RunError naming a table that was removed or replaced while the run goes on.
  void require_linked() const;
  /// Forces all rows to disk: before a checkpoint that they belong to is saved. Throws RunError.
  void sync();

 private:
  /// A file by what does not change with its name.
  struct Table {
    std::filesystem::path path;
    std::uintmax_t device = 0, inode = 0;
  };
  static Table table(const std::filesystem::path& path);
  Probabilities preferences(const Router<Accumulate<Real>>& router, std::size_t budget) const;

  const RunConfig& m_config;
  std::unique_ptr<HistoryWriter> m_history, m_router;
  std::vector<Table> m_tables;
};

}  // namespace elastic
