// SPDX-License-Identifier: Apache-2.0
#include "model/generation.hpp"

#include <algorithm>

#include "kernels/argmax.hpp"
#include "kernels/embedding.hpp"
#include "kernels/rmsnorm.hpp"

namespace elastic {
namespace {

void check_prompts(const std::vector<std::vector<token_t>>& prompts,
                   const GenerationConfig& config) {
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const auto length = static_cast<index_t>(prompts[i].size());
    if (length == 0 || length >= config.max_length)
      throw InputError(fmt::format(
          "prompt {} has {} tokens; expected 1 to {} (one less than the maximum length)", i, length,
          config.max_length - 1));
  }
}

/// Caches of all layers and the buffers of one step.
template <class S>
class Decoder {
 public:
  Decoder(const ExecutionSpace& exec, Arena& arena, const LanguageModel<S>& model,
          const ActiveWidths<S>& widths, index_t batch, index_t max_length)
      : m_model(model),
        m_widths(widths),
        m_context{.exec = exec, .arena = &arena, .batch = batch, .seq_length = 1, .segment = {}},
        m_caches(static_cast<std::size_t>(model.stack().num_layers())),
        m_tokens("elastic::decoder_tokens", static_cast<std::size_t>(batch)),
        h_tokens(Kokkos::create_mirror_view(m_tokens)) {
    for (index_t l = 0; l < model.stack().num_layers(); ++l) {
      const auto i = static_cast<std::size_t>(l);
      if (widths.layers[i].active)
        m_caches[i] = model.stack().layer(l).make_cache(widths.layers[i], batch, max_length);
    }
  }

  /// Most likely next tokens after `tokens` at `position`, on the host.
  const std::vector<token_t>& step(const std::vector<token_t>& tokens, index_t position) {
    const Arena::Scope scope(*m_context.arena);
    const auto& exec = m_context.exec;
    const index_t batch = m_context.batch, width = m_widths.hidden,
                  vocab = m_model.shape().vocab_size;
    const auto h = m_context.arena->template matrix<S>(batch, width);
    const auto normed = m_context.arena->template matrix<S>(batch, width);
    const auto logits = m_context.arena->template matrix<S>(batch, vocab);
    const auto rstd = m_context.arena->template vector<S>(batch);
    std::copy(tokens.begin(), tokens.end(), h_tokens.data());
    Kokkos::deep_copy(exec, m_tokens, h_tokens);
    kernels::embedding_forward<S>(exec, m_tokens,
                                  prefix(m_model.word_embeddings().value, vocab, width), h);
    m_model.stack().step(m_context, m_widths, position, h, m_caches);
    kernels::rmsnorm_forward<S>(exec, h, prefix(m_model.final_norm().value_vector(), width), {},
                                m_widths.norm.params, normed, rstd);
    m_model.logits(exec, normed, logits);
    kernels::argmax_rows<S>(exec, logits, m_tokens);
    Kokkos::deep_copy(exec, h_tokens, m_tokens);
    fence(exec, "elastic::decoder_step");
    m_next.assign(h_tokens.data(), h_tokens.data() + batch);
    return m_next;
  }

 private:
  const LanguageModel<S>& m_model;
  const ActiveWidths<S>& m_widths;
  LayerContext m_context;
  std::vector<std::unique_ptr<typename Layer<S>::Cache>> m_caches;
  View1<token_t> m_tokens;
  typename View1<token_t>::HostMirror h_tokens;
  std::vector<token_t> m_next;
};

}  // namespace

template <class S>
std::vector<std::vector<token_t>> generate_greedy(const ExecutionSpace& exec, Arena& arena,
                                                  const LanguageModel<S>& model,
                                                  const ActiveWidths<S>& widths,
                                                  const std::vector<std::vector<token_t>>& prompts,
                                                  const GenerationConfig& config) {
  check_prompts(prompts, config);
  std::vector<std::vector<token_t>> outputs(prompts.size());
  if (prompts.empty()) return outputs;
  Decoder<S> decoder(exec, arena, model, widths, static_cast<index_t>(prompts.size()),
                     config.max_length);
  std::vector<token_t> current(prompts.size());
  std::vector<bool> done(prompts.size(), false);
  for (std::size_t i = 0; i < prompts.size(); ++i) current[i] = prompts[i][0];

  for (index_t position = 0; position + 1 < config.max_length; ++position) {
    const auto& next = decoder.step(current, position);
    const auto following = static_cast<std::size_t>(position + 1);
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const bool in_prompt = following < prompts[i].size();
      current[i] = in_prompt ? prompts[i][following] : next[i];
      if (in_prompt || done[i]) continue;
      done[i] = next[i] == config.stop;
      if (!done[i]) outputs[i].push_back(next[i]);
    }
    if (std::all_of(done.begin(), done.end(), [](bool d) { return d; })) break;
  }
  return outputs;
}

template std::vector<std::vector<token_t>> generate_greedy<float>(
    const ExecutionSpace&, Arena&, const LanguageModel<float>&, const ActiveWidths<float>&,
    const std::vector<std::vector<token_t>>&, const GenerationConfig&);
template std::vector<std::vector<token_t>> generate_greedy<double>(
    const ExecutionSpace&, Arena&, const LanguageModel<double>&, const ActiveWidths<double>&,
    const std::vector<std::vector<token_t>>&, const GenerationConfig&);

}  // namespace elastic
