// SPDX-License-Identifier: Apache-2.0
// TrainState <-> checkpoint file: names and layout of everything in it (doc/checkpoint_format.md).
// One file holds the parent, hence all submodels.
//
//   model/TENSOR                    values of the parent; in a training checkpoint the masters, if
//                                   the optimizer has some: values before rounding
//   optimizer/model/{m,v}/TENSOR    AdamW's moments of them
//   router/TENSOR                   router weights
//   optimizer/router/{m,v}/TENSOR   AdamW's moments of them
//   ranking/hidden                  order of the hidden channels
//   ranking/units.L                 order of the units of layer L
//   ranking/channels.L              order of the head channels of layer L
//   ranking/drop_order              order in which layers are dropped
//   texts                           deck, shape, submodel.NAME (JSON)
//   attributes                      step, kind
//
// Tensors are whole in files, and a file is the same for any layout of ranks. Where a StateWriter
// or StateReader is that of several ranks, all of them call these functions.
#pragma once
#include "io/checkpoint_file.hpp"
#include "state/state_reader.hpp"
#include "state/state_writer.hpp"
#include "state/train_state.hpp"

namespace elastic {

/// Writes model values, shape and deck.
template <class T>
void write_model(const StateWriter& writer, const LanguageModel<T>& model, const std::string& deck,
                 const std::string& kind);
/// Writes the order of importance.
void write_ranking(const StateWriter& writer, const Ranking& ranking);
/// Writes the router's weights.
void write_router(const StateWriter& writer, const Router<Accumulate<Real>>& router);
void read_router(const StateReader& reader, Router<Accumulate<Real>>& router);
/// Writes everything needed to resume.
template <class T>
void write_state(const StateWriter& writer, const TrainState<T>& state, const std::string& deck);
/// Writes a submodel's widths, a few hundred bytes.
void write_spec(const StateWriter& writer, const SubmodelSpec& spec);

ModelShape read_shape(const CheckpointReader& reader);
/// Throws InputError naming the file and every key of the deck whose value it does not have
/// (arch/shape_difference.hpp).
void require_shape(const CheckpointReader& reader, const ModelShape& deck);
std::string shape_to_json(const ModelShape& shape);
ModelShape shape_from_json(const std::string& text, const std::string& file);
Ranking read_ranking(const CheckpointReader& reader, const ModelShape& shape);
/// Fills a model of the file's shape. Throws InputError naming file and tensor if they do not fit.
template <class T>
void read_model(const StateReader& reader, LanguageModel<T>& model);
/// Restores `state` (a fresh parent of the deck) from a file of write_state.
/// Values of the teacher are not in it.
template <class T>
void read_state(const StateReader& reader, const RunConfig& config, TrainState<T>& state);

/// Writes the submodel `spec` of `parent` as a checkpoint of kind "submodel": its own shape and
/// values, the deck of the run, and the spec it was cut with. Replaces `path`. Throws RunError.
template <class T>
void write_sliced(const std::filesystem::path& path, const LanguageModel<T>& parent,
                  const SubmodelSpec& spec, const std::string& deck);

/// Writes a submodel, as above, into an open file; called by all ranks that share `parent`.
template <class T>
void write_sliced(const StateWriter& writer, const LanguageModel<T>& parent,
                  const SubmodelSpec& spec, const std::string& deck);

}  // namespace elastic
