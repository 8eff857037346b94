// SPDX-License-Identifier: Apache-2.0
// The verb `front`: what the submodels of one set of weights cost and lose, many of them at once.
//
//   elastic.x front runs/quickstart/model.h5
//   elastic.x front model.h5 --samples 500 --random --seed 7 --problems 64 --out front
//
// Points are prefixes of the weights: those that the router chose, homogeneous ones of the same
// budgets, and either random ones, half of them within the budgets, or a grid. Nothing is cut.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "config/run_config.hpp"
#include "elastic/submodel_spec.hpp"

namespace CLI {
class App;
}

namespace elastic {

/// Options of the verb.
struct FrontOptions {
  std::filesystem::path checkpoint = {};
  index_t samples = 64;  ///< random submodels, or at most so many of the grid
  bool grid = false, random = false;
  index_t seed = 1;
  index_t problems = 0;  ///< held-out problems that every submodel answers; reasoning data only
  std::filesystem::path out =
      {};  ///< folder; empty: beside the checkpoint, model.h5 -> model_front
  bool force = false;
  std::vector<std::string> overrides = {};  ///< of the stored deck: block/key=value
};

/// Adds all options of the verb but the checkpoint.
void add_front_options(CLI::App& command, FrontOptions& options);

/// One submodel and what it costs. On a front: no other point is better in one of its goals and
/// nowhere worse.
struct FrontPoint {
  std::string origin;                 ///< "router", "homogeneous", "random" or "grid"
  SubmodelSpec spec;                  ///< with the name and value of its budget, if it has one
  std::string widths;                 ///< in words
  double parameters = 0, memory = 0;  ///< memory: bytes of the inference of <elastic>/memory_*
  double seconds = 0;                 ///< per token of the inference of <elastic>/seconds_*
  double loss = 0;                    ///< held-out, nats per token
  std::optional<double> accuracy;
  bool by_parameters = false, by_memory = false, by_seconds = false;  ///< fronts with the loss
  bool on_front = false;                                              ///< of all four goals
};
/// A budget, and the point of least loss that meets it; points are numbers in the list.
struct FrontTarget {
  Budget budget;
  std::optional<std::size_t> best, router;
};
/// All that was found.
struct Front {
  std::vector<FrontPoint> points;
  std::vector<FrontTarget> targets;
  std::string conditions;  ///< of memory and time, in words
};

/// Collective: submodels are dealt to the ranks, each evaluates its own alone, so losses do not
/// depend on the number of ranks; rank 0 alone measures times. Throws InputError as
/// evaluate_checkpoint, and for a file that is one submodel; Stopped; NumericsError.
Front evaluate_front(const Communicator& comm, const FrontOptions& options);
/// Marks the points that are on each front.
void mark_fronts(std::vector<FrontPoint>& points);

/// Every point as CSV; fronts and recommended widths as Markdown.
std::string front_table(const Front& front);
std::string front_report(const Front& front, const std::string& model);
/// What the verb prints.
std::string describe(const Front& front);

/// Throws InputError unless all files of the front can be written.
void require_front_folder(const FrontOptions& options);
/// Writes table, report, the script that draws and, where Python has matplotlib, the picture;
/// returns what was written, for people. Call on one rank. Throws RunError.
std::string write_front(const FrontOptions& options, const Front& front);

}  // namespace elastic
