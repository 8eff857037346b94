// SPDX-License-Identifier: Apache-2.0
#include "model/losses.hpp"

#include <algorithm>

#include "base/on_grid.hpp"
#include "kernels/cross_entropy.hpp"
#include "kernels/gemm.hpp"
#include "kernels/global_norm.hpp"
#include "kernels/kl_divergence.hpp"
#include "comm/collectives.hpp"
#include "layers/unit_sum.hpp"

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

  index_t count() const { return end - begin; }
  /// Null for one rank.
  const Communicator* group() const { return model.parallel().group(); }
  View2<S> logits() const {
    const auto out = context.arena->matrix<S>(count(), model.num_my_words());
    model.logits(context.exec, hidden, out);
    return out;
  }
  template <class T>
  View1<T> rows_of(const View1<T>& all) const {
    return Kokkos::subview(all, Range(begin, end));
  }
  /// Sends d loss / d logits back to the hidden states and to the output layer (both added).
  void backward(const View2<S>& dlogits, UnitSum<S>& dhidden) const {
    const auto& output = model.output_layer();
    const index_t width = hidden.extent_int(1);
    dhidden.add_rows(dlogits, output.value, Blocks::units(model.num_my_words()));
    kernels::gemm<S>(context.exec, kYes, kNo, 1, dlogits, hidden, 1,
                     prefix(output.gradient, model.num_my_words(), width));
  }
};

/// Chunks of at most `size` of the tokens `all`.
template <class S, class Body>
void for_each_chunk(const LayerContext& context, const LanguageModel<S>& model,
                    View2<const S> hidden, const Range& all, index_t size, const Body& body) {
  for (index_t begin = all.first; begin < all.second; begin += size) {
    const Arena::Scope scope(*context.arena);
    const index_t end = std::min(all.second, begin + size);
    body(Chunk<S>{context, model, Kokkos::subview(hidden, Range(begin, end), Kokkos::ALL), begin,
                  end});
  }
}

template <class S>
double cross_entropy_sum(const Chunk<S>& chunk, const LossTargets<S>& targets, bool gradient,
                         double factor_, const View2<S>& logits) {
  const auto& exec = chunk.context.exec;
  Arena& arena = *chunk.context.arena;
  const auto words = chunk.rows_of(targets.targets);
  const auto weight = chunk.rows_of(targets.weight);
  const auto factor = static_cast<S>(factor_);
  const auto loss = arena.vector<S>(chunk.count());
  if (const Communicator* group = chunk.group()) {
    const Shard shard = chunk.model.shard();
    const auto maximum = arena.vector<S>(chunk.count());
    const auto sums = arena.matrix<S>(chunk.count(), 2);
    kernels::cross_entropy_maxima<S>(exec, weight, logits, maximum);
    all_reduce_max(*group, maximum);
    kernels::cross_entropy_sums<S>(exec, words, weight, shard, logits, maximum, sums);
    all_reduce_sum(*group, sums);
    kernels::cross_entropy_finish<S>(exec, words, weight, shard, maximum, sums, gradient, factor,
                                     logits, loss);
  } else {
    kernels::cross_entropy<S>(exec, words, weight, gradient, factor, logits, loss);
  }
  return kernels::sum<S>(exec, loss);
}

template <class S>
double kl_sum(const Chunk<S>& chunk, const LossTargets<S>& targets, const TeacherStates<S>& teacher,
              double temperature, bool gradient, double factor_, const View2<S>& logits) {
  const auto& exec = chunk.context.exec;
  Arena& arena = *chunk.context.arena;
  const Arena::Scope scope(arena);
  const Chunk<S> source{chunk.context, *teacher.model,
                        Kokkos::subview(teacher.hidden, Range(chunk.begin, chunk.end), Kokkos::ALL),
                        chunk.begin, chunk.end};
  const auto weight = chunk.rows_of(targets.weight);
  const auto factor = static_cast<S>(factor_);
  const auto loss = arena.vector<S>(chunk.count());
  const View2<S> p = source.logits();
  if (const Communicator* group = chunk.group()) {
    const auto maxima = arena.matrix<S>(chunk.count(), 2), sums = arena.matrix<S>(chunk.count(), 3);
    kernels::kl_divergence_maxima<S>(exec, p, weight, logits, maxima);
    all_reduce_max(*group, maxima);
    kernels::kl_divergence_sums<S>(exec, p, weight, chunk.model.shard(), temperature, logits,
                                   maxima, sums);
    all_reduce_sum(*group, sums);
    kernels::kl_divergence_finish<S>(exec, p, weight, temperature, maxima, sums, gradient, factor,
                                     logits, loss);
  } else {
    kernels::kl_divergence<S>(exec, p, weight, temperature, gradient, factor, logits, loss);
  }
  return kernels::sum<S>(exec, loss);
}
}  // namespace

template <class S>
LossSums evaluate_losses(const LayerContext& context, const LanguageModel<S>& model,
                         View2<const S> hidden, const LossTargets<S>& targets,
                         const TeacherStates<S>& teacher, const LossConfig& config) {
  LossSums sums;
  for_each_chunk<S>(context, model, hidden, {0, hidden.extent_int(0)}, config.tokens_per_chunk,
                    [&](const Chunk<S>& chunk) {
                      const auto logits = chunk.logits();
                      sums.cross_entropy += cross_entropy_sum<S>(chunk, targets, false, 0, logits);
                      if (teacher.model)
                        sums.kl += kl_sum<S>(chunk, targets, teacher, config.temperature, false, 0,
                                             logits);
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
  if (config.cross_entropy_weight == 0 && config.distillation_weight == 0) {
    Kokkos::deep_copy(context.exec, dhidden, S(0));
    return sums;
  }
  const index_t tokens = hidden.extent_int(0) / context.num_blocks();
  for_each_block(context, [&](const Block& block) {
    LossSums of_block;
    for_each_chunk<S>(
        context, model, hidden, {block.number * tokens, (block.number + 1) * tokens},
        config.tokens_per_chunk, [&](const Chunk<S>& chunk) {
          UnitSum<S> sum(context, model.shard(), rows(dhidden, chunk.begin, chunk.end));
          if (config.cross_entropy_weight != 0) {
            const Arena::Scope scope(*context.arena);
            const auto logits = chunk.logits();
            of_block.cross_entropy += cross_entropy_sum<S>(
                chunk, targets, true, factor * config.cross_entropy_weight, logits);
            chunk.backward(logits, sum);
          }
          if (config.distillation_weight != 0) {
            const Arena::Scope scope(*context.arena);
            const auto logits = chunk.logits();
            of_block.kl += kl_sum<S>(chunk, targets, teacher, config.temperature, true,
                                     factor * config.distillation_weight, logits);
            chunk.backward(logits, sum);
          }
          sum.finish();
        });
    close_block<S>(context, {model.output_layer().gradient_vector()});
    const auto rounded = [&](double x) { return context.sums ? on_grid(x) : x; };
    sums.cross_entropy += rounded(of_block.cross_entropy);
    sums.kl += rounded(of_block.kl);
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
