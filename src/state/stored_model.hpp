// SPDX-License-Identifier: Apache-2.0
// A model out of any checkpoint of elastic.x, and the submodel of a budget: what the verbs share.
//
//   kind       written by                              holds
//   training   every checkpoint of a run               all of the run's state
//   parent     end of the rank phase                   ranked parent
//   elastic    slice phase (model.h5)                  parent, router, specs of the budgets
//   submodel   slice phase and verb (submodels/*.h5)   one submodel as a model of its own
//   import     verb import                             parent, and what an export gives back
#pragma once
#include "config/run_config.hpp"
#include "io/checkpoint_file.hpp"
#include "model/language_model.hpp"

namespace elastic {

/// A model of a file, and the deck of the run that wrote it.
struct StoredModel {
  std::string kind;
  ResolvedDeck deck;
  ModelShape shape;
  std::unique_ptr<LanguageModel<Real>> model;  ///< frozen
  bool has_router = false;
};

/// Reads all but the values: `model` is null.
StoredModel read_stored_head(const CheckpointReader& reader,
                             const std::vector<std::string>& overrides = {});
/// Reads everything. `overrides` change the stored deck (block/key=value).
/// Throws InputError naming the file.
StoredModel read_stored_model(const CheckpointReader& reader,
                              const std::vector<std::string>& overrides = {});
/// Names of the submodels whose widths the file holds.
std::vector<std::string> stored_names(const CheckpointReader& reader);
/// The submodels whose widths the file holds, largest budget first; none for kind submodel, whose
/// spec speaks of the parent's layers.
std::vector<SubmodelSpec> stored_submodels(const CheckpointReader& reader,
                                           const ModelShape& parent);

/// What the deck of the file lets shrink, in the order of its ranking.
ElasticSpace stored_space(const CheckpointReader& reader, const StoredModel& stored);
/// The submodel of a budget: its stored widths if there are some, else the router's choice that
/// meets the budget within <elastic>/tolerance, nested with the stored ones where one is
/// (elastic/family.hpp). `budget`: the name of a stored submodel, the name
/// of a budget of the deck, or any number in (0, 1]. Throws InputError naming what there is,
/// or the nearest reachable budgets.
SubmodelSpec find_submodel(const CheckpointReader& reader, const StoredModel& stored,
                           const std::string& budget);
/// Homogeneous widths for a budget, which ask no router: every axis scaled alike.
/// `budget`: as find_submodel. Throws InputError if there are none.
SubmodelSpec homogeneous_submodel(const CheckpointReader& reader, const StoredModel& stored,
                                  const std::string& budget);

}  // namespace elastic
