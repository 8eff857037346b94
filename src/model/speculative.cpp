// SPDX-License-Identifier: Apache-2.0
#include "model/speculative.hpp"

#include <algorithm>

namespace elastic {
namespace {

/// text[begin, end)
std::vector<token_t> part(const std::vector<token_t>& text, index_t begin, std::size_t end) {
  return {text.begin() + begin, text.begin() + static_cast<std::ptrdiff_t>(end)};
}

/// Appends up to `most` tokens, the most likely ones for `draft`, to `text`, none after `stop`.
/// Returns how many.
template <class T>
index_t draft_tokens(const ExecutionSpace& exec, Decoder<T>& draft, index_t most, token_t stop,
                     std::vector<token_t>& text) {
  for (index_t i = 0; i < most; ++i) {
    const auto logits = draft.read(part(text, draft.position(), text.size()));
    text.push_back(most_likely<T>(exec, logits)[0]);
    if (text.back() == stop) return i + 1;
  }
  return most;
}

}  // namespace

template <class T>
SpeculativeResult generate_speculative(const kernels::Products& products, Arena& arena,
                                       const LanguageModel<T>& model, const ActiveWidths<T>& widths,
                                       const ActiveWidths<T>& draft_widths,
                                       const std::vector<token_t>& prompt,
                                       const SpeculativeConfig& config) {
  check_prompts({prompt}, config.max_length);
  ELASTIC_REQUIRE(config.draft_length >= 1, "drafts of {} tokens", config.draft_length);
  const index_t k = config.draft_length;
  Decoder<T> parent(products, arena, model, widths, 1, config.max_length, k),
      draft(products, arena, model, draft_widths, 1, config.max_length, k);
  SpeculativeResult result;
  std::vector<token_t> text = prompt;
  text.push_back(most_likely<T>(products.exec, parent.read(prompt))[0]);

  // The parent has read all but the last token of the text; the draft some more or less.
  std::size_t checked = prompt.size();  // tokens of the text in which no stop token is
  for (;;) {
    const auto stop =
        std::find(text.begin() + static_cast<std::ptrdiff_t>(checked), text.end(), config.stop);
    if (stop != text.end() || static_cast<index_t>(text.size()) == config.max_length) {
      result.tokens.assign(text.begin() + static_cast<std::ptrdiff_t>(prompt.size()), stop);
      return result;
    }
    checked = text.size();
    if (config.go_on) config.go_on();
    // A round adds up to one token more than were drafted.
    const auto known = static_cast<index_t>(text.size());
    const index_t count = draft_tokens(
        products.exec, draft, std::min(k, config.max_length - known - 1), config.stop, text);
    const auto choices =
        most_likely<T>(products.exec, parent.read_each(part(text, parent.position(), text.size())));
    index_t agreed = 0;
    while (agreed < count && text[static_cast<std::size_t>(known + agreed)] ==
                                 choices[static_cast<std::size_t>(agreed)])
      ++agreed;
    text.resize(static_cast<std::size_t>(known + agreed));
    text.push_back(choices[static_cast<std::size_t>(agreed)]);
    parent.rewind(known + agreed);
    draft.rewind(std::min(draft.position(), known + agreed));
    result.rounds += 1;
    result.drafted += count;
    result.accepted += agreed;
  }
}

#define ELASTIC_INSTANTIATE(T)                                                           \
  template SpeculativeResult generate_speculative<T>(                                    \
      const kernels::Products&, Arena&, const LanguageModel<T>&, const ActiveWidths<T>&, \
      const ActiveWidths<T>&, const std::vector<token_t>&, const SpeculativeConfig&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
