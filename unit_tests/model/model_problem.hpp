// SPDX-License-Identifier: Apache-2.0
// A small language model on random tokens, its loss as a function of its parameters,
// and the passes that tests compare.
#pragma once
#include "elastic/ranking.hpp"
#include "model/losses.hpp"
#include "unit_tests/layers/parameters_for_tests.hpp"
#include "unit_tests/support/gradient.hpp"

namespace elastic::test {

/// Parents whose norms have a large epsilon: norms of small vectors magnify rounding errors, and
/// errors of finite differences, by up to 1 / sqrt(epsilon).
inline ModelShape smooth(ModelShape shape) {
  shape.norm_epsilon = 0.05;
  return shape;
}
inline ModelShape small_parent() { return smooth(small_shape()); }
inline ModelShape random_parent(Draw& draw) { return smooth(random_shape(draw)); }

inline std::vector<token_t> random_tokens(index_t count, index_t vocab, std::uint64_t stream) {
  Draw draw(stream);
  std::vector<token_t> tokens;
  for (index_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<token_t>(draw.between(0, vocab - 1)));
  return tokens;
}

/// Segment ids of `batch` rows, each made of documents of the given lengths.
inline std::vector<token_t> segments_of(index_t batch, const std::vector<index_t>& documents) {
  std::vector<token_t> segment;
  for (index_t b = 0; b < batch; ++b)
    for (std::size_t i = 0; i < documents.size(); ++i)
      segment.insert(segment.end(), documents[i], static_cast<token_t>(i));
  return segment;
}

/// directional_error with a step so short that it seldom crosses the kink of a squared ReLU.
template <class Loss, class V>
double gradient_error(const Loss& loss, const V& x, const V& gradient) {
  return directional_error(loss, x, gradient, 99, 1e-5);
}

template <class T>
struct ModelProblem {
  /// Rows of the given documents; one document means no segments.
  ModelProblem(const ModelShape& shape, index_t batch, const std::vector<index_t>& documents,
               const TensorParallel& parallel = {})
      : model(shape, false, parallel) {
    index_t length = 0;
    for (const index_t n : documents) length += n;
    context = {.exec = {}, .arena = &arena, .batch = batch, .seq_length = length, .segment = {}};
    if (documents.size() > 1) context.segment = to_device(segments_of(batch, documents));
    randomize(model.parameters(), 51, 0.5);
    const index_t count = context.num_tokens();
    tokens = to_device(random_tokens(count, shape.vocab_size, 52));
    targets = to_device(random_tokens(count, shape.vocab_size, 53));
    weight = random_vector<float>(count, 54, 0, 1);
  }
  explicit ModelProblem(const ModelShape& shape = small_parent())
      : ModelProblem(shape, 2, {4, 9}) {}

  /// Adds distillation from an MLP of its own width and makes the loss a mixture.
  void add_teacher() {
    auto shape = make_shape("-", 9, {}, {}, {LayerKind::mlp, 6});
    shape.vocab_size = model.shape().vocab_size;
    teacher_model = std::make_unique<LanguageModel<T>>(shape, true, model.parallel());
    randomize(teacher_model->parameters(), 55, 0.8);
    teacher_hidden = random_matrix<T>(context.num_tokens(), 9, 56);
    config = {.cross_entropy_weight = 0.7, .distillation_weight = 0.4, .temperature = 1.5};
  }
  /// Its states, or its logits once they are kept.
  TeacherStates<T> teacher() const {
    if (teacher_logits.size() > 0) return {.logits = teacher_logits};
    return {.model = teacher_model.get(), .hidden = teacher_hidden};
  }
  void keep_teacher_logits() {
    const View2<T> logits(Kokkos::view_alloc(Kokkos::WithoutInitializing, "logits"),
                          context.num_tokens(), teacher_model->num_my_words());
    keep_logits<T>(context, teacher(), config, logits);
    teacher_logits = logits;
  }

  /// [T, V] on the host.
  std::vector<T> logits(const ActiveWidths<T>& widths) {
    const Arena::Scope scope(arena);
    auto pass = model.make_pass(Keep::nothing);
    model.forward(context, widths, tokens, pass);
    const auto out = arena.template matrix<T>(context.num_tokens(), model.shape().vocab_size);
    model.all_logits(context.products(), arena, pass.hidden, out);
    return to_host(out);
  }
  LossSums evaluate(const ActiveWidths<T>& widths) {
    const Arena::Scope scope(arena);
    auto pass = model.make_pass(Keep::nothing);
    model.forward(context, widths, tokens, pass);
    return evaluate_losses<T>(context, model, pass.hidden, {targets, weight}, teacher(), config);
  }
  /// The weighted sum whose gradient differentiate() computes.
  double loss(const ActiveWidths<T>& widths) {
    const auto sums = evaluate(widths);
    return config.cross_entropy_weight * sums.cross_entropy + config.distillation_weight * sums.kl;
  }
  /// One step without the optimizer: gradients start at zero.
  LossSums differentiate(const ActiveWidths<T>& widths, Keep keep = Keep::everything,
                         double factor = 1) {
    const Arena::Scope scope(arena);
    zero_gradients(model.parameters());
    auto pass = model.make_pass(keep);
    model.forward(context, widths, tokens, pass);
    const auto dhidden = arena.template matrix<Accumulate<T>>(context.num_tokens(), widths.hidden);
    readback.clear();
    const auto losses = differentiate_losses<T>(context, model, pass.hidden, {targets, weight},
                                                teacher(), config, factor, dhidden, readback);
    model.backward(context, widths, tokens, pass, dhidden);
    readback.read(context.exec);
    return losses.sums(readback);
  }
  ActiveWidths<T> full_widths() const { return model.full_widths(); }

  LanguageModel<T> model;
  Arena arena;
  Readback readback;
  LayerContext context;
  View1<token_t> tokens, targets;
  View1<float> weight;
  LossConfig config;
  std::unique_ptr<LanguageModel<T>> teacher_model;
  View2<T> teacher_hidden, teacher_logits;
};

/// For logits and gradients of a model that sum so many terms. Where values are narrower than sums,
/// the residual stream and what leads to it are stored in every layer; later layers read what
/// earlier ones have rounded.
template <class T>
double model_tolerance(index_t reduction_length) {
  return stored_tolerance<T>(reduction_length, 30);
}

/// Every width of small_parent() cut, the second layer dropped.
inline SubmodelSpec narrow_small_spec() {
  auto spec = full_spec(small_parent());
  spec.hidden_size = 9;
  spec.layers = {{4, 3, true}, {7, 1, false}, {2, 3, true}, {2, 2, true}, {6, 1, true}};
  return spec;
}

}  // namespace elastic::test
