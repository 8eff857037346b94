// SPDX-License-Identifier: Apache-2.0
// How long the inference of a submodel, or of a part of it, takes on this machine.
//
//   prefill   B sequences of L tokens pass together; logits of the last token of each
//   decode    one more token of each of B sequences, whose caches hold L tokens; its logits
//
// All numbers are those of the real layers on the real weights; what a token is does not matter.
#pragma once
#include <functional>

#include "model/language_model.hpp"

namespace elastic {

/// The inference that is timed.
struct Inference {
  bool decode = false;
  index_t batch = 1, seq_length = 1;  ///< B, L
  /// That one pass reads.
  double tokens() const { return static_cast<double>(decode ? batch : batch * seq_length); }
};

/// What of a model is timed: embedding, final norm and output layer; and some layers.
struct PassParts {
  bool ends = true;
  std::vector<index_t> layers;
};
/// Ends and all layers that a submodel keeps.
PassParts whole_submodel(const SubmodelSpec& spec);

/// Seconds of the fastest of a few passes of `parts` at the exact widths of `spec`, after one
/// that is not timed; all in one buffer. Where one thread does all the work, that is the time that
/// it had a processor. Collective over the ranks of a model.
template <class T>
double time_pass(const LanguageModel<T>& model, Arena& arena, const Inference& inference,
                 const SubmodelSpec& spec, const PassParts& parts);

/// How often times are taken: at least so many rounds, then until the seconds are over.
struct TimingRounds {
  int least = 3, most = 15;
  double seconds = 5;
};
/// Collective. The lower quartile of each of `count` times over rounds, each of which takes all of
/// them in turn, so that other programs on the machine, which only ever add time, disturb all
/// alike; of all ranks, the slowest. Throws Stopped on all ranks if one was asked to stop.
std::vector<double> repeated_times(const Communicator& comm, std::size_t count,
                                   const TimingRounds& rounds,
                                   const std::function<double(std::size_t)>& time);

}  // namespace elastic
