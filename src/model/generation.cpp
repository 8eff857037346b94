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

/// Which switch is the next, as tokens are generated.
template <class T>
class NextSwitch {
 public:
  explicit NextSwitch(const std::vector<BudgetSwitch<T>>& switches) : m_switches(switches) {}
  /// Takes the switches that the generated tokens call for; false if there are none.
  bool take(std::span<const token_t> generated) {
    const std::size_t before = m_taken;
    for (; m_taken < m_switches.size() && is_due(m_switches[m_taken], generated); ++m_taken)
      m_since = generated.size();
    return m_taken > before;
  }
  std::size_t taken() const { return m_taken; }
  /// The last one taken.
  const ActiveWidths<T>& widths() const { return m_switches[m_taken - 1].widths; }

 private:
  bool is_due(const BudgetSwitch<T>& next, std::span<const token_t> generated) const {
    const auto& marker = next.marker;
    if (marker.empty()) return static_cast<index_t>(generated.size()) >= next.after;
    return generated.size() >= m_since + marker.size() &&
           std::equal(marker.rbegin(), marker.rend(), generated.rbegin());
  }

  const std::vector<BudgetSwitch<T>>& m_switches;
  std::size_t m_taken = 0, m_since = 0;  // switches taken; tokens before the last of them
};

}  // namespace

template <class T>
std::vector<index_t> switch_places(const std::vector<token_t>& tokens,
                                   const std::vector<BudgetSwitch<T>>& switches) {
  std::vector<index_t> places;
  NextSwitch<T> next(switches);
  for (std::size_t count = 1; count <= tokens.size(); ++count)
    if (next.take({tokens.data(), count})) places.resize(next.taken(), static_cast<index_t>(count));
  return places;
}

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
  NextSwitch<T> next_switch(switches);
  Continuations sequences(prompts, config.stop);

  const index_t common = shortest(prompts);
  auto logits = decoder->read(heads_of(prompts, common));
  for (index_t position = common;; ++position) {
    if (config.go_on) config.go_on();
    auto tokens = sequences.take(
        choose_tokens<T>(products.exec, logits, config.sampling, config.first_sequence, position),
        position);
    if (sequences.all_done() || position + 1 == config.max_length) return sequences.outputs();
    if (!switches.empty() && next_switch.take(sequences.outputs()[0])) {
      const auto& chosen = next_switch.widths();
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
  template std::vector<index_t> switch_places<T>(const std::vector<token_t>&,               \
                                                 const std::vector<BudgetSwitch<T>>&);      \
  template Sequences generate<T>(const kernels::Products&, Arena&, const LanguageModel<T>&, \
                                 const ActiveWidths<T>&, const Sequences&,                  \
                                 const GenerationConfig&, const std::vector<BudgetSwitch<T>>&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
