// SPDX-License-Identifier: Apache-2.0
// All that training changes: what a checkpoint holds.
#pragma once
#include <optional>

#include "config/run_config.hpp"
#include "elastic/ranking.hpp"
#include "elastic/soft_widths.hpp"
#include "model/language_model.hpp"
#include "optim/adamw.hpp"
#include "optim/flat_slices.hpp"
#include "parallel/process_grid.hpp"

namespace elastic {

/// What elastic training adds to the parent.
template <class T>
struct ElasticState {
  ElasticSpace space;  ///< drop order of the ranking included
  std::vector<Decision> decisions;
  Ranking ranking;
  /// Frozen ranked parent; none if all stages train their teacher.
  std::unique_ptr<LanguageModel<T>> teacher;
  std::unique_ptr<SoftWidths<T>> soft_widths;
  std::unique_ptr<Router<Accumulate<T>>> router;
  std::unique_ptr<AdamW<Accumulate<T>>> router_optimizer;
  /// What every pass of each trained budget computes with <router>/widths = homogeneous; empty:
  /// what the router draws.
  std::vector<RouterDraw> fixed;

  /// A pass of trained budget number `budget`; `stream` names the noise.
  struct PassName {
    std::size_t budget;
    std::uint64_t stream;
  };
  bool learns_widths() const { return fixed.empty(); }
  /// What passes compute: one wait for all.
  std::vector<RouterDraw> draws(const kernels::Products& products,
                                const std::vector<PassName>& passes,
                                const RouterTemperature& temperature) const;
  /// The draws of these passes by the router's names.
  std::vector<DrawName> names_of(const std::vector<PassName>& passes) const;
  /// What a pass of trained budget number `budget` computes. Valid until the next call.
  const RouterDraw& draw(const kernels::Products& products, std::size_t budget,
                         const RouterTemperature& temperature, std::uint64_t stream) const;
};

/// The state of a run after `step` steps. T: stored values and activations (precision/compute).
template <class T>
struct TrainState {
  index_t step = 0;  ///< steps of the curriculum that are done
  std::unique_ptr<LanguageModel<T>> model;
  std::unique_ptr<AdamW<T>> optimizer;     ///< none if no stage changes the model
  std::optional<ElasticState<T>> elastic;  ///< from the end of the rank phase on
  Shard owner;  ///< which of the ranks with equal parameters this is: it owns optimizer slices
};

/// How the weights of a new parent begin: at initial values, or at zero for the caller to read.
enum class Weights { initial, zero };
template <class T>
TrainState<T> make_parent(const RunConfig& config, Weights weights = Weights::initial);
/// Makes this rank's part of the parent and of its optimizer state.
template <class T>
TrainState<T> make_parent(const RunConfig& config, const ProcessGrid& grid, Weights weights);
/// Collective over the tensor group. Applies `ranking` to the parent, freezes a copy as the
/// teacher where a stage needs it, and starts a router and fresh optimizers.
template <class T>
void begin_elastic(const RunConfig& config, const Ranking& ranking, TrainState<T>& state);
/// Like begin_elastic for a parent that is ranked already (resume): the teacher's weights are left
/// at zero for the caller to read.
template <class T>
void make_elastic(const RunConfig& config, const Ranking& ranking, TrainState<T>& state);
/// A model like the state's for the ranked parent as it was, weights at zero.
template <class T>
std::unique_ptr<LanguageModel<T>> make_teacher(const LanguageModel<T>& model);
/// The submodel that the router picks for a budget now, and those of the trained or of all budgets
/// (config/extraction.hpp).
template <class T>
SubmodelSpec submodel_for(const RunConfig& config, const TrainState<T>& state, double budget);
template <class T>
std::vector<SubmodelSpec> submodels_for(const RunConfig& config, const TrainState<T>& state,
                                        bool with_extra_budgets);

}  // namespace elastic
