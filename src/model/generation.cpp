// SPDX-License-Identifier: Apache-2.0
#include "model/generation.hpp"

#include <algorithm>
#include <optional>

namespace elastic {
namespace {
using Sequences = std::vector<std::vector<token_t>>;

/// The first `length` tokens of every prompt, one prompt after the other.
std::vector<token_t> heads_of(const Sequences& prompts, index_t length) {
  std::vector<token_t> result;
  for (const auto& prompt : prompts)
    result.insert(result.end(), prompt.begin(), prompt.begin() + length);
  return result;
}

index_t shortest(const Sequences& prompts) {
  std::size_t length = prompts[0].size();
  for (const auto& prompt : prompts) length = std::min(length, prompt.size());
  return static_cast<index_t>(length);
}

/// Decides token after token of all sequences: given by the prompt, or chosen.
class Continuations {
 public:
  Continuations(const Sequences& prompts, token_t stop)
      : m_prompts(prompts),
        m_stop(stop),
        m_outputs(prompts.size()),
        m_done(prompts.size(), false) {}
  /// The tokens at `position`, where the model chose these.
  std::vector<token_t> take(std::vector<token_t> chosen, index_t position) {
    const auto place = static_cast<std::size_t>(position);
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      const bool in_prompt = place < m_prompts[i].size();
      if (in_prompt) chosen[i] = m_prompts[i][place];
      if (in_prompt || m_done[i]) continue;
      m_done[i] = chosen[i] == m_stop;
      if (!m_done[i]) m_outputs[i].push_back(chosen[i]);
    }
    return chosen;
  }
  bool all_done() const {
    return std::all_of(m_done.begin(), m_done.end(), [](bool done) { return done; });
  }
  const Sequences& outputs() const { return m_outputs; }

 private:
  const Sequences& m_prompts;
  token_t m_stop;
  Sequences m_outputs;
  std::vector<bool> m_done;
};

}  // namespace

void check_prompts(const Sequences& prompts, index_t max_length) {
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const auto length = static_cast<index_t>(prompts[i].size());
    if (length == 0 || length >= max_length)
      throw InputError(fmt::format(
          "prompt {} has {} tokens; expected 1 to {} (one less than the maximum length)", i, length,
          max_length - 1));
  }
}

template <class T>
Sequences generate(const kernels::Products& products, Arena& arena, const LanguageModel<T>& model,
                   const ActiveWidths<T>& widths, const Sequences& prompts,
                   const GenerationConfig& config, const std::vector<BudgetSwitch<T>>& switches) {
  check_prompts(prompts, config.max_length);
  check_sampling(config.sampling);
  ELASTIC_REQUIRE(switches.empty() || prompts.size() == 1, "{} prompts with budget switches",
                  prompts.size());
  if (prompts.empty()) return {};
  const auto make_decoder = [&](const ActiveWidths<T>& chosen) {
    return Decoder<T>(products, arena, model, chosen, static_cast<index_t>(prompts.size()),
                      config.max_length);
  };
  std::optional<Decoder<T>> decoder(make_decoder(widths));
  const ActiveWidths<T>* current = &widths;
  auto next_switch = switches.begin();
  Continuations sequences(prompts, config.stop);

  const index_t common = shortest(prompts);
  auto logits = decoder->read(heads_of(prompts, common));
  for (index_t position = common;; ++position) {
    if (config.go_on) config.go_on();
    auto tokens = sequences.take(
        choose_tokens<T>(products.exec, logits, config.sampling, config.first_sequence, position),
        position);
    if (sequences.all_done() || position + 1 == config.max_length) return sequences.outputs();
    const auto generated = static_cast<index_t>(sequences.outputs()[0].size());
    if (next_switch != switches.end() && generated == next_switch->after) {
      const auto& chosen = (next_switch++)->widths;
      if (fits_into(chosen, *current)) {
        Decoder<T> narrower(std::move(*decoder), chosen);
        decoder.emplace(std::move(narrower));
      } else {
        decoder.emplace(make_decoder(chosen));
        tokens = prompts[0];
        tokens.insert(tokens.end(), sequences.outputs()[0].begin(), sequences.outputs()[0].end());
      }
      current = &chosen;
    }
    logits = decoder->read(tokens);
  }
}

#define ELASTIC_INSTANTIATE(T)                                                              \
  template Sequences generate<T>(const kernels::Products&, Arena&, const LanguageModel<T>&, \
                                 const ActiveWidths<T>&, const Sequences&,                  \
                                 const GenerationConfig&, const std::vector<BudgetSwitch<T>>&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
