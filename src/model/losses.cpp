// SPDX-License-Identifier: Apache-2.0
#include "model/losses.hpp"

#include <algorithm>

#include "kernels/cross_entropy.hpp"
#include "kernels/gemm.hpp"
#include "kernels/global_norm.hpp"
#include "kernels/kl_divergence.hpp"

namespace elastic {
namespace {
constexpr auto kNo = kernels::Transpose::no, kYes = kernels::Transpose::yes;

/// One chunk of tokens [begin, end) with logits of the student ready to be differentiated.
template <class S>
struct Chunk {
  const LayerContext& context;
  const LanguageModel<S>& model;
  View2<const S> hidden;  // [t, D]
  index_t begin, end;

  index_t vocab() const { return model.shape().vocab_size; }
  View2<S> logits() const {
    const auto out = context.arena->matrix<S>(end - begin, vocab());
    model.logits(context.exec, hidden, out);
    return out;
  }
  template <class T>
  View1<T> rows_of(const View1<T>& all) const {
    return Kokkos::subview(all, Range(begin, end));
  }
  /// Sends d loss / d logits back to the hidden states (added) and to the output layer (added).
  void backward(const View2<S>& dlogits, const View2<S>& dhidden) const {
    const auto& output = model.output_layer();
    const index_t width = hidden.extent_int(1);
    kernels::gemm<S>(context.exec, kNo, kNo, 1, dlogits, prefix(output.value, vocab(), width), 1,
                     rows(dhidden, begin, end));
    kernels::gemm<S>(context.exec, kYes, kNo, 1, dlogits, hidden, 1,
                     prefix(output.gradient, vocab(), width));
  }
};

template <class S, class Body>
void for_each_chunk(const LayerContext& context, const LanguageModel<S>& model,
                    View2<const S> hidden, index_t size, const Body& body) {
  const index_t tokens = hidden.extent_int(0);
  for (index_t begin = 0; begin < tokens; begin += size) {
    const Arena::Scope scope(*context.arena);
    const index_t end = std::min(tokens, begin + size);
    body(Chunk<S>{context, model, Kokkos::subview(hidden, Range(begin, end), Kokkos::ALL), begin,
                  end});
  }
}

template <class S>
double cross_entropy_sum(const Chunk<S>& chunk, const LossTargets<S>& targets, bool gradient,
                         double factor, const View2<S>& logits) {
  const auto loss = chunk.context.arena->template vector<S>(chunk.end - chunk.begin);
  kernels::cross_entropy<S>(chunk.context.exec, chunk.rows_of(targets.targets),
                            chunk.rows_of(targets.weight), gradient, static_cast<S>(factor), logits,
                            loss);
  return kernels::sum<S>(chunk.context.exec, loss);
}

template <class S>
double kl_sum(const Chunk<S>& chunk, const LossTargets<S>& targets, const TeacherStates<S>& teacher,
              double temperature, bool gradient, double factor, const View2<S>& logits) {
  const Arena::Scope scope(*chunk.context.arena);
  const Chunk<S> source{chunk.context, *teacher.model,
                        Kokkos::subview(teacher.hidden, Range(chunk.begin, chunk.end), Kokkos::ALL),
                        chunk.begin, chunk.end};
  const auto loss = chunk.context.arena->template vector<S>(chunk.end - chunk.begin);
  kernels::kl_divergence<S>(chunk.context.exec, source.logits(), chunk.rows_of(targets.weight),
                            temperature, gradient, static_cast<S>(factor), logits, loss);
  return kernels::sum<S>(chunk.context.exec, loss);
}
}  // namespace

template <class S>
LossSums evaluate_losses(const LayerContext& context, const LanguageModel<S>& model,
                         View2<const S> hidden, const LossTargets<S>& targets,
                         const TeacherStates<S>& teacher, const LossConfig& config) {
  LossSums sums;
  for_each_chunk<S>(context, model, hidden, config.tokens_per_chunk, [&](const Chunk<S>& chunk) {
    const auto logits = chunk.logits();
    sums.cross_entropy += cross_entropy_sum<S>(chunk, targets, false, 0, logits);
    if (teacher.model)
      sums.kl += kl_sum<S>(chunk, targets, teacher, config.temperature, false, 0, logits);
  });
  return sums;
}

template <class S>
LossSums differentiate_losses(const LayerContext& context, const LanguageModel<S>& model,
                              View2<const S> hidden, const LossTargets<S>& targets,
                              const TeacherStates<S>& teacher, const LossConfig& config,
                              double factor, const View2<S>& dhidden) {
  ELASTIC_REQUIRE(config.distillation_weight == 0 || teacher.model, "distillation needs a teacher");
  LossSums sums;
  Kokkos::deep_copy(context.exec, dhidden, S(0));
  for_each_chunk<S>(context, model, hidden, config.tokens_per_chunk, [&](const Chunk<S>& chunk) {
    if (config.cross_entropy_weight != 0) {
      const Arena::Scope scope(*context.arena);
      const auto logits = chunk.logits();
      sums.cross_entropy +=
          cross_entropy_sum<S>(chunk, targets, true, factor * config.cross_entropy_weight, logits);
      chunk.backward(logits, dhidden);
    }
    if (config.distillation_weight != 0) {
      const Arena::Scope scope(*context.arena);
      const auto logits = chunk.logits();
      sums.kl += kl_sum<S>(chunk, targets, teacher, config.temperature, true,
                           factor * config.distillation_weight, logits);
      chunk.backward(logits, dhidden);
    }
  });
  return sums;
}

#define ELASTIC_INSTANTIATE(S)                                                             \
  template LossSums evaluate_losses<S>(const LayerContext&, const LanguageModel<S>&,       \
                                       View2<const S>, const LossTargets<S>&,              \
                                       const TeacherStates<S>&, const LossConfig&);        \
  template LossSums differentiate_losses<S>(                                               \
      const LayerContext&, const LanguageModel<S>&, View2<const S>, const LossTargets<S>&, \
      const TeacherStates<S>&, const LossConfig&, double, const View2<S>&);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
