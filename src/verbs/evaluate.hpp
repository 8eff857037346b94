// SPDX-License-Identifier: Apache-2.0
// The verb `evaluate`: held-out loss and answers of the models in a checkpoint,
// on the data of its stored deck.
#pragma once
#include <filesystem>
#include <optional>

#include "train/validation.hpp"

namespace elastic {

/// The numbers of one model.
struct Evaluated {
  std::string name;    ///< of the submodel; "parent" or "model" for the whole
  std::string widths;  ///< in words
  double parameters = 0;
  double valid_loss = 0;           ///< nats per token
  std::optional<double> accuracy;  ///< reasoning data only
};

/// Collective; all ranks share the work. An empty `budget` means every stored submodel, else every
/// budget of the router, else the whole model. A sliced file is the model itself. `overrides`
/// change the stored deck (block/key=value). Throws InputError, also for a change that is not used
/// and for data with more words than the model has; NumericsError for a loss that is not finite.
std::vector<Evaluated> evaluate_checkpoint(const Communicator& comm,
                                           const std::filesystem::path& checkpoint,
                                           const std::string& budget,
                                           const std::vector<std::string>& overrides);
/// The results as a table for people.
std::string describe(const std::vector<Evaluated>& results);

}  // namespace elastic
