// SPDX-License-Identifier: Apache-2.0
#include "model/losses.hpp"

#include <algorithm>

#include "base/on_grid.hpp"
#include "kernels/losses/cross_entropy.hpp"
#include "kernels/products/gemm.hpp"
#include "kernels/update/global_norm.hpp"
#include "kernels/losses/kl_divergence.hpp"
#include "kernels/losses/top_words_kl.hpp"
#include "comm/collectives.hpp"
#include "layers/unit_sum.hpp"

namespace elastic {
namespace {
constexpr auto as_is = kernels::Transpose::no, transposed = kernels::Transpose::yes;

/// One chunk of tokens [begin, end) with logits of the student ready to be differentiated.
template <class T>
struct Chunk {
  const LayerContext& context;
  const LanguageModel<T>& model;
  View2<const T> hidden;  // [t, D]
  index_t begin, end;

  index_t count() const { return end - begin; }
  /// Null for one rank.
  const Communicator* group() const { return model.parallel().group(); }
  View2<T> logits() const {
    const auto out = context.arena->matrix<T>(count(), model.num_my_words());
    model.logits(context.products(), hidden, out);
    return out;
  }
  template <class U>
  View1<U> rows_of(const View1<U>& all) const {
    return Kokkos::subview(all, Range(begin, end));
  }
  /// Sends d loss / d logits back to the hidden states and to the output layer (both added).
  void backward(const View2<T>& dlogits, UnitSum<T>& dhidden) const {
    const auto& output = model.output_layer();
    const index_t width = hidden.extent_int(1);
    dhidden.add_rows(dlogits, output.value, UnitRows::units(model.num_my_words()));
    kernels::gemm<T, Accumulate<T>>(context.products(), transposed, as_is, 1, dlogits, hidden, 1,
                                    prefix(output.gradient, model.num_my_words(), width));
  }
};

/// Calls `body` for chunks of at most `size` of the tokens `all`.
template <class T, class Body>
void for_each_chunk(const LayerContext& context, const LanguageModel<T>& model,
                    View2<const T> hidden, const Range& all, index_t size, const Body& body) {
  for (index_t begin = all.first; begin < all.second; begin += size) {
    const Arena::Scope scope(*context.arena);
    const index_t end = std::min(all.second, begin + size);
    body(Chunk<T>{context, model, Kokkos::subview(hidden, Range(begin, end), Kokkos::ALL), begin,
                  end});
  }
}

/// Where the losses of chunks go, one after the other.
class TermList {
 public:
  /// For `losses` losses of chunks of at most `size` tokens of each block.
  TermList(const LayerContext& context, index_t num_blocks, index_t tokens, index_t size,
           index_t losses, Readback& readback)
      : m_exec(context.exec) {
    index_t count = 0;
    for (index_t begin = 0; begin < tokens; begin += size)
      count += kernels::num_block_sums(std::min(size, tokens - begin));
    m_terms.numbers = readback.take(num_blocks * losses * count);
    m_terms.rounded = context.sums != nullptr;
  }
  void begin_block(index_t block) { m_block = block; }
  template <class A>
  void add(LossTerms::Loss loss, const View1<A>& of_tokens) {
    const index_t count = kernels::num_block_sums(static_cast<index_t>(of_tokens.extent(0)));
    kernels::block_sums<A>(m_exec, of_tokens,
                           Kokkos::subview(m_terms.numbers, Range(m_next, m_next + count)));
    m_terms.chunks.push_back({loss, m_block, count});
    m_next += count;
  }
  const LossTerms& terms() const { return m_terms; }

 private:
  ExecutionSpace m_exec;
  LossTerms m_terms;
  index_t m_block = 0, m_next = 0;
};

template <class T>
void add_cross_entropy(const Chunk<T>& chunk, const LossTargets& targets, bool gradient,
                       double factor_, const View2<T>& logits, TermList& terms) {
  const auto& exec = chunk.context.exec;
  Arena& arena = *chunk.context.arena;
  kernels::CrossEntropyRows rows{chunk.rows_of(targets.targets), chunk.rows_of(targets.weight)};
  const auto factor = static_cast<Accumulate<T>>(factor_);
  const auto loss = arena.vector<Accumulate<T>>(chunk.count());
  if (const Communicator* group = chunk.group()) {
    rows.shard = chunk.model.shard();
    const auto maximum = arena.vector<Accumulate<T>>(chunk.count());
    const auto sums = arena.matrix<Accumulate<T>>(chunk.count(), 2);
    kernels::cross_entropy_maxima<T>(exec, rows, logits, maximum);
    all_reduce_max(*group, maximum);
    kernels::cross_entropy_sums<T>(exec, rows, logits, maximum, sums);
    all_reduce_sum(*group, sums);
    kernels::cross_entropy_finish<T>(exec, rows, maximum, sums, gradient, factor, logits, loss);
  } else {
    kernels::cross_entropy<T>(exec, rows, gradient, factor, logits, loss);
  }
  terms.add(LossTerms::Loss::cross_entropy, loss);
}

/// The teacher's logits of a chunk of the student's.
template <class T>
View2<const T> logits_of(const TeacherStates<T>& teacher, const Chunk<T>& chunk) {
  const Range here(chunk.begin, chunk.end);
  if (teacher.logits.size() > 0) return Kokkos::subview(teacher.logits, here, Kokkos::ALL);
  return Chunk<T>{chunk.context, *teacher.model, Kokkos::subview(teacher.hidden, here, Kokkos::ALL),
                  chunk.begin, chunk.end}
      .logits();
}

template <class T>
void add_kl(const Chunk<T>& chunk, const LossTargets& targets, const TeacherStates<T>& teacher,
            const LossConfig& config, bool gradient, double factor_, const View2<T>& logits,
            TermList& terms) {
  const auto& exec = chunk.context.exec;
  Arena& arena = *chunk.context.arena;
  const Arena::Scope scope(arena);
  const auto factor = static_cast<Accumulate<T>>(factor_);
  const auto loss = arena.vector<Accumulate<T>>(chunk.count());
  kernels::KlDivergenceRows<T> rows{logits_of(teacher, chunk), chunk.rows_of(targets.weight),
                                    config.temperature};
  if (const Communicator* group = chunk.group()) {
    rows.shard = chunk.model.shard();
    const auto maxima = arena.matrix<Accumulate<T>>(chunk.count(), 2),
               sums = arena.matrix<Accumulate<T>>(chunk.count(), 3);
    kernels::kl_divergence_maxima<T>(exec, rows, logits, maxima);
    all_reduce_max(*group, maxima);
    kernels::kl_divergence_sums<T>(exec, rows, logits, maxima, sums);
    all_reduce_sum(*group, sums);
    kernels::kl_divergence_finish<T>(exec, rows, maxima, sums, gradient, factor, logits, loss);
  } else {
    kernels::kl_divergence<T>(exec, rows, gradient, factor, logits, loss);
  }
  terms.add(LossTerms::Loss::kl, loss);
}

/// The KL from what the teacher has said, differentiated.
template <class T>
void add_stored_kl(const Chunk<T>& chunk, const LossTargets& targets,
                   const kernels::TopWords& stored, double temperature, double factor,
                   const View2<T>& logits, TermList& terms) {
  using A = Accumulate<T>;
  const auto& exec = chunk.context.exec;
  Arena& arena = *chunk.context.arena;
  const Arena::Scope scope(arena);
  const Range here(chunk.begin, chunk.end);
  const kernels::TopWordsRows rows{
      {Kokkos::subview(stored.ids, here, Kokkos::ALL),
       Kokkos::subview(stored.log_p, here, Kokkos::ALL), chunk.rows_of(stored.log_rest)},
      chunk.rows_of(targets.weight),
      temperature,
      chunk.model.shard()};
  const auto loss = arena.vector<A>(chunk.count());
  const auto known = arena.matrix<A>(chunk.count(), stored.ids.extent_int(1)),
             maxima = arena.matrix<A>(chunk.count(), 2), sums = arena.matrix<A>(chunk.count(), 3);
  const Communicator* group = chunk.group();
  kernels::top_words_kl_maxima<T>(exec, rows, logits, known, maxima);
  if (group) all_reduce_max(*group, maxima);
  kernels::top_words_kl_sums<T>(exec, rows, logits, known, maxima, sums);
  if (group) all_reduce_sum(*group, sums);
  kernels::top_words_kl_finish<T>(exec, rows, {known, maxima, sums}, static_cast<A>(factor), logits,
                                  loss);
  terms.add(LossTerms::Loss::kl, loss);
}
}  // namespace

LossSums LossTerms::sums(const Readback& readback) const {
  using Sum = double LossSums::*;
  LossSums total, of_block;
  const auto close_block = [&] {
    for (const Sum sum : {&LossSums::cross_entropy, &LossSums::kl})
      total.*sum += rounded ? on_grid(of_block.*sum) : of_block.*sum;
    of_block = {};
  };
  const double* next = readback.numbers(numbers);
  index_t block = 0;
  for (const Chunk& chunk : chunks) {
    if (chunk.block != block) close_block();
    block = chunk.block;
    double sum = 0;
    for (index_t i = 0; i < chunk.count; ++i) sum += *next++;
    (chunk.loss == Loss::kl ? of_block.kl : of_block.cross_entropy) += sum;
  }
  close_block();
  return total;
}

template <class T>
void keep_logits(const LayerContext& context, const TeacherStates<T>& teacher,
                 const LossConfig& config, const View2<T>& logits) {
  for_each_block(context, [&](const TokenBlock& block) {
    const index_t tokens = logits.extent_int(0) / context.num_blocks();
    for_each_chunk<T>(context, *teacher.model, teacher.hidden,
                      {block.number * tokens, (block.number + 1) * tokens}, config.tokens_per_chunk,
                      [&](const Chunk<T>& chunk) {
                        teacher.model->logits(context.products(), chunk.hidden,
                                              rows(logits, chunk.begin, chunk.end));
                      });
  });
}

template <class T>
LossTerms evaluate_losses(const LayerContext& context, const LanguageModel<T>& model,
                          View2<const T> hidden, const LossTargets& targets,
                          const TeacherStates<T>& teacher, const LossConfig& config,
                          Readback& readback) {
  const index_t tokens = hidden.extent_int(0);
  TermList terms(context, 1, tokens, config.tokens_per_chunk, teacher.model ? 2 : 1, readback);
  for_each_chunk<T>(context, model, hidden, {0, tokens}, config.tokens_per_chunk,
                    [&](const Chunk<T>& chunk) {
                      const auto logits = chunk.logits();
                      add_cross_entropy<T>(chunk, targets, false, 0, logits, terms);
                      if (teacher.model)
                        add_kl<T>(chunk, targets, teacher, config, false, 0, logits, terms);
                    });
  return terms.terms();
}

template <class T>
LossTerms differentiate_losses(const LayerContext& context, const LanguageModel<T>& model,
                               View2<const T> hidden, const LossTargets& targets,
                               const TeacherStates<T>& teacher, const LossConfig& config,
                               double factor, const View2<Accumulate<T>>& dhidden,
                               Readback& readback) {
  const bool stored = !teacher.stored.empty();
  ELASTIC_REQUIRE(config.distillation_weight == 0 || !teacher.empty(),
                  "distillation needs a teacher");
  const bool learns_words = config.cross_entropy_weight != 0,
             distils = config.distillation_weight != 0;
  const index_t tokens = hidden.extent_int(0) / context.num_blocks();
  TermList terms(context, context.num_blocks(), tokens, config.tokens_per_chunk,
                 index_t(learns_words) + index_t(distils), readback);
  if (!learns_words && !distils) {
    Kokkos::deep_copy(context.exec, dhidden, Accumulate<T>(0));
    return terms.terms();
  }
  for_each_block(context, [&](const TokenBlock& block) {
    terms.begin_block(block.number);
    for_each_chunk<T>(context, model, hidden, {block.number * tokens, (block.number + 1) * tokens},
                      config.tokens_per_chunk, [&](const Chunk<T>& chunk) {
                        UnitSum<T> sum(context, model.shard(),
                                       rows(dhidden, chunk.begin, chunk.end));
                        if (learns_words) {
                          const Arena::Scope scope(*context.arena);
                          const auto logits = chunk.logits();
                          add_cross_entropy<T>(chunk, targets, true,
                                               factor * config.cross_entropy_weight, logits, terms);
                          chunk.backward(logits, sum);
                        }
                        if (distils) {
                          const Arena::Scope scope(*context.arena);
                          const auto logits = chunk.logits();
                          const double step = factor * config.distillation_weight;
                          if (stored)
                            add_stored_kl<T>(chunk, targets, teacher.stored, config.temperature,
                                             step, logits, terms);
                          else
                            add_kl<T>(chunk, targets, teacher, config, true, step, logits, terms);
                          chunk.backward(logits, sum);
                        }
                        sum.finish();
                      });
    close_block<T>(context, {model.output_layer().gradient_vector()});
  });
  return terms.terms();
}

template <class T>
LossSums evaluate_losses(const LayerContext& context, const LanguageModel<T>& model,
                         View2<const T> hidden, const LossTargets& targets,
                         const TeacherStates<T>& teacher, const LossConfig& config) {
  Readback readback;
  const auto terms = evaluate_losses<T>(context, model, hidden, targets, teacher, config, readback);
  readback.read(context.exec);
  return terms.sums(readback);
}
template <class T>
LossSums differentiate_losses(const LayerContext& context, const LanguageModel<T>& model,
                              View2<const T> hidden, const LossTargets& targets,
                              const TeacherStates<T>& teacher, const LossConfig& config,
                              double factor, const View2<Accumulate<T>>& dhidden) {
  Readback readback;
  const auto terms = differentiate_losses<T>(context, model, hidden, targets, teacher, config,
                                             factor, dhidden, readback);
  readback.read(context.exec);
  return terms.sums(readback);
}

#define ELASTIC_INSTANTIATE(T)                                                                     \
  template void keep_logits<T>(const LayerContext&, const TeacherStates<T>&, const LossConfig&,    \
                               const View2<T>&);                                                   \
  template LossTerms evaluate_losses<T>(const LayerContext&, const LanguageModel<T>&,              \
                                        View2<const T>, const LossTargets&,                        \
                                        const TeacherStates<T>&, const LossConfig&, Readback&);    \
  template LossTerms differentiate_losses<T>(                                                      \
      const LayerContext&, const LanguageModel<T>&, View2<const T>, const LossTargets&,            \
      const TeacherStates<T>&, const LossConfig&, double, const View2<Accumulate<T>>&, Readback&); \
  template LossSums evaluate_losses<T>(const LayerContext&, const LanguageModel<T>&,               \
                                       View2<const T>, const LossTargets&,                         \
                                       const TeacherStates<T>&, const LossConfig&);                \
  template LossSums differentiate_losses<T>(                                                       \
      const LayerContext&, const LanguageModel<T>&, View2<const T>, const LossTargets&,            \
      const TeacherStates<T>&, const LossConfig&, double, const View2<Accumulate<T>>&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
