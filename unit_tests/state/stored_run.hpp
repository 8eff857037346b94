// SPDX-License-Identifier: Apache-2.0
// The checkpoints that a small run leaves: training state, ranked parent, elastic model.
#pragma once
#include "elastic/cost_model.hpp"
#include "state/stored_model.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {

/// model.h5, with the specs of its three budgets, in a folder of its own.
class StoredRun : public InFolder {
 protected:
  void SetUp() override {
    InFolder::SetUp();
    deck = small_deck();
    state.emplace(small_state(deck.config));
    model = folder / "model.h5";
    write_elastic_model(model, deck, *state, 3);
  }
  std::filesystem::path write_training() {
    const auto path = folder / "training.h5";
    CheckpointWriter writer(path);
    write_state(writer, *state, deck.text);
    writer.commit();
    return path;
  }
  std::filesystem::path write_parent() {
    const auto path = folder / "parent.h5";
    CheckpointWriter writer(path);
    write_model(writer, *state->elastic->teacher, deck.text, "parent");
    write_ranking(writer, state->elastic->ranking);
    writer.commit();
    return path;
  }
  /// The submodel `name` as a file of its own.
  std::filesystem::path write_submodel(const std::string& name, double budget) {
    const auto path = folder / (name + ".h5");
    SubmodelSpec spec = submodel_for(deck.config, *state, budget);
    spec.name = name;
    write_sliced(path, *state->model, spec, deck.text);
    return path;
  }
  double parameters(const SubmodelSpec& spec) const {
    return parameter_count(state->model->shape(), expected_widths(spec));
  }

  ResolvedDeck deck;
  std::optional<TrainState<Real>> state;
  std::filesystem::path model;
};

}  // namespace elastic::test
