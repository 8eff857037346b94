// SPDX-License-Identifier: Apache-2.0
// Losses on the output layer, in chunks of tokens: per chunk, logits of student (and teacher) are
// computed, reduced, differentiated and discarded.
//
//   loss = cross_entropy_weight * CE(student, targets)
//        + distillation_weight * KL(teacher || student)      weighted sums over tokens
//
// Where the teacher's likeliest words are stored: the KL of kernels/losses/top_words_kl.hpp.
//
// (Nemotron Elastic, arXiv 2511.16664, equations 13 to 16.)
#pragma once
#include "base/readback.hpp"
#include "kernels/losses/top_words.hpp"
#include "model/language_model.hpp"

namespace elastic {

/// Which losses are mixed, and how many logits exist at a time.
struct LossConfig {
  double cross_entropy_weight = 1;  ///< of next-token cross-entropy
  double distillation_weight = 0;   ///< of the forward KL from the teacher
  double temperature = 1;           ///< of the distillation
  index_t tokens_per_chunk = 1024;  ///< rows of logits that exist at a time
};
/// Sums over the tokens of a micro-batch of weight * loss, on the host. Where gradients are summed
/// over blocks (parallel/token_blocks.hpp), the sum of each block is rounded to a multiple of
/// 2^-30.
struct LossSums {
  double cross_entropy = 0;  ///< nats; 0 if neither wanted nor weighted
  double kl = 0;
};
/// Losses of a pass that are on the device still: terms of their sums, chunk by chunk, among the
/// numbers of a Readback.
struct LossTerms {
  enum class Loss { cross_entropy, kl };
  struct Chunk {
    Loss loss;
    index_t block;  ///< of tokens, over which sums are rounded
    index_t count;  ///< of terms, which follow those of the chunk before
  };
  View1<double> numbers;
  std::vector<Chunk> chunks;
  bool rounded = false;

  /// The sums, once `readback` was read.
  LossSums sums(const Readback& readback) const;
};
/// What the student's logits are compared with.
struct LossTargets {
  View1<const token_t> targets;  ///< [T]
  View1<const float> weight;     ///< [T]
};
/// The teacher's part: its output layer and its final hidden states [T, D_teacher]; or its logits
/// of this rank's words [T, V']; or what it has said of each token, at the temperature of the loss.
template <class T>
struct TeacherStates {
  const LanguageModel<T>* model = nullptr;
  View2<const T> hidden = {};
  kernels::TopWords stored = {};
  View2<const T> logits = {};

  bool empty() const { return model == nullptr && stored.empty() && logits.size() == 0; }
};

/// What the states would give chunk by chunk, for several budgets: logits [T, V'].
template <class T>
void keep_logits(const LayerContext& context, const TeacherStates<T>& teacher,
                 const LossConfig& config, const View2<T>& logits);

/// Both losses of a pass without gradient (evaluation); a teacher's states are optional.
template <class T>
LossTerms evaluate_losses(const LayerContext& context, const LanguageModel<T>& model,
                          View2<const T> hidden, const LossTargets& targets,
                          const TeacherStates<T>& teacher, const LossConfig& config,
                          Readback& readback);
/// Losses with a non-zero weight, and their gradients: by `hidden`, times `factor`,
/// overwritten; by the output layer, added. dhidden [T, D] is this rank's part of a sum over words.
template <class T>
LossTerms differentiate_losses(const LayerContext& context, const LanguageModel<T>& model,
                               View2<const T> hidden, const LossTargets& targets,
                               const TeacherStates<T>& teacher, const LossConfig& config,
                               double factor, const View2<Accumulate<T>>& dhidden,
                               Readback& readback);
/// For a single pass: these allocate, and wait for the sums.
template <class T>
LossSums evaluate_losses(const LayerContext& context, const LanguageModel<T>& model,
                         View2<const T> hidden, const LossTargets& targets,
                         const TeacherStates<T>& teacher, const LossConfig& config);
template <class T>
LossSums differentiate_losses(const LayerContext& context, const LanguageModel<T>& model,
                              View2<const T> hidden, const LossTargets& targets,
                              const TeacherStates<T>& teacher, const LossConfig& config,
                              double factor, const View2<Accumulate<T>>& dhidden);

}  // namespace elastic
