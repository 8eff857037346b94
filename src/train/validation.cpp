// SPDX-License-Identifier: Apache-2.0
#include "train/validation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/on_grid.hpp"
#include "base/region.hpp"
#include "comm/collectives.hpp"
#include "comm/rounds.hpp"
#include "data/character_vocabulary.hpp"
#include "kernels/rows/logit_difference.hpp"
#include "model/generation.hpp"
#include "train/token_sources.hpp"

namespace elastic {
namespace {
constexpr index_t problems_at_once = 128;  // sequences of one generation batch

/// The largest element, NaN if there is one.
double largest(const View1<float>& values) {
  const auto h_values = Kokkos::create_mirror_view_and_copy(HostSpace(), values);
  float result = 0;
  for (std::size_t i = 0; i < h_values.extent(0); ++i)
    result = h_values(i) <= result ? result : h_values(i);
  return result;
}
void require_finite(const char* what, const SubmodelSpec& spec, double value) {
  if (!std::isfinite(value))
    throw NumericsError(fmt::format("{} of {}: {}", what,
                                    spec.name.empty() ? "the whole model" : "budget " + spec.name,
                                    value));
}
/// False if a model with a larger vocabulary than that of the problems has left the latter.
bool is_text(const std::vector<token_t>& tokens) {
  return std::all_of(tokens.begin(), tokens.end(),
                     [](token_t token) { return token < CharacterVocabulary::size; });
}
bool is_right(const Problem& problem, const std::vector<token_t>& text) {
  return is_text(text) && check_answer(problem, CharacterVocabulary::decode(text));
}
}  // namespace

template <class T>
Validation<T>::Validation(const Communicator& all, const Communicator& sharers,
                          const Communicator* team, const RunConfig& config, Arena& arena)
    : m_all(all),
      m_sharers(sharers),
      m_team(team),
      m_config(config),
      m_arena(arena),
      m_source(make_source(config, held_out_stream)),
      m_batches(sharers, config, arena) {}

template <class T>
void Validation<T>::go_on() const {
  if (m_team == nullptr) return stop_request::go_on_alone();
  agree_to_go_on(*m_team);
}

template <class T>
std::vector<double> Validation<T>::loss_sums(const LanguageModel<T>& model,
                                             const SubmodelSpec& spec,
                                             const LanguageModel<T>* teacher, index_t seq_length) {
  const auto widths = model.widths(spec);
  std::vector<double> sums(3, 0.0);  // tokens, cross-entropy, KL
  const SequenceRange held_out{
      .split = Split::validation, .count = m_config.evaluate.samples, .seq_length = seq_length};
  m_batches.for_each_together(
      m_all, team_size(), *m_source, held_out, [&](const MicroBatch& batch) {
        const auto& context = batch.context;
        auto pass = model.make_pass(Keep::nothing);
        TeacherStates<T> states;
        if (teacher) {
          auto teacher_pass = teacher->make_pass(Keep::nothing);
          teacher->forward(context, teacher->full_widths(), batch.tokens, teacher_pass);
          states = {.model = teacher, .hidden = teacher_pass.hidden, .stored = {}, .logits = {}};
        }
        model.forward(context, widths, batch.tokens, pass);
        m_readback.clear();
        const auto terms =
            evaluate_losses<T>(context, model, pass.hidden, batch.targets, states,
                               {.temperature = m_config.distill.temperature,
                                .tokens_per_chunk = m_config.parallel.logit_chunk_tokens},
                               m_readback);
        m_readback.read(context.exec);
        const LossSums losses = terms.sums(m_readback);
        sums[0] += batch.weight_sum;
        sums[1] += on_grid(losses.cross_entropy);
        sums[2] += on_grid(losses.kl);
      });
  return sums;
}

template <class T>
ValidationResult Validation<T>::losses(const LanguageModel<T>& model, const SubmodelSpec& spec,
                                       const LanguageModel<T>* teacher, index_t seq_length) {
  const Region region("validation");
  auto sums = loss_sums(model, spec, teacher, seq_length);
  all_reduce_sum(m_sharers, sums);
  if (sums[0] == 0)
    throw InputError(fmt::format(
        "validation: no token of the {} held-out sequences of {} tokens has a target; expected "
        "longer documents, or more <evaluate>/samples",
        m_config.evaluate.samples, seq_length));
  constexpr double none = std::numeric_limits<double>::quiet_NaN();
  const ValidationResult result{.cross_entropy = sums[1] / sums[0],
                                .kl = teacher ? sums[2] / sums[0] : none};
  require_finite("held-out cross-entropy", spec, result.cross_entropy);
  if (teacher) require_finite("held-out distance from the teacher (KL)", spec, result.kl);
  return result;
}

template <class T>
typename Validation<T>::Asked Validation<T>::ask(index_t first, index_t end) const {
  const ReasoningProblems problems(reasoning_config(m_config),
                                   static_cast<std::uint32_t>(m_config.job.seed), held_out_stream);
  Asked asked{.max_length = problems.longest_document() + 1};
  for (index_t i = first; i < end; ++i) {
    asked.problems.push_back(problems.problem(Split::validation, i));
    asked.prompts.push_back(prompt_tokens(asked.problems.back()));
  }
  return asked;
}

template <class T>
typename Validation<T>::Sequences Validation<T>::continuations(const LanguageModel<T>& model,
                                                               const SubmodelSpec& spec,
                                                               const Sequences& prompts,
                                                               index_t max_length) {
  const auto widths = model.widths(spec);
  Sequences results;
  for (std::size_t begin = 0; begin < prompts.size(); begin += problems_at_once) {
    const std::size_t end = std::min(prompts.size(), begin + problems_at_once);
    const Sequences some(prompts.begin() + static_cast<std::ptrdiff_t>(begin),
                         prompts.begin() + static_cast<std::ptrdiff_t>(end));
    for (auto& result : generate_greedy<T>(
             {m_exec, m_config.job.deterministic}, m_arena, model, widths, some,
             {.max_length = max_length, .stop = CharacterVocabulary::end, .go_on = [this] {
                go_on();
              }}))
      results.push_back(std::move(result));
  }
  return results;
}

template <class T>
double Validation<T>::right_answers(const LanguageModel<T>& model, const SubmodelSpec& spec,
                                    index_t first, index_t end) {
  const Asked asked = ask(first, end);
  const auto texts = continuations(model, spec, asked.prompts, asked.max_length);
  double right = 0;
  for (std::size_t i = 0; i < texts.size(); ++i) right += is_right(asked.problems[i], texts[i]);
  return right;
}

template <class T>
void Validation<T>::add_pairs_of(const LanguageModel<T>& model,
                                 const std::vector<SubmodelSpec>& specs, std::size_t thinker,
                                 const std::vector<token_t>& marker, const Asked& asked,
                                 PairSums& sums) {
  const auto texts = continuations(model, specs[thinker], asked.prompts, asked.max_length);
  std::vector<std::size_t> open;  // problems that another goes on with
  std::vector<std::size_t> thoughts(texts.size());
  std::vector<bool> switches(texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto found = std::search(texts[i].begin(), texts[i].end(), marker.begin(), marker.end());
    thoughts[i] = static_cast<std::size_t>(found - texts[i].begin()) + marker.size();
    switches[i] = found != texts[i].end() &&
                  static_cast<index_t>(asked.prompts[i].size() + thoughts[i]) < asked.max_length;
    if (switches[i]) open.push_back(i);
  }
  // Prompts of like length lie in one batch: the short ones do not wait for the long ones.
  std::stable_sort(open.begin(), open.end(), [&](std::size_t a, std::size_t b) {
    return asked.prompts[a].size() + thoughts[a] < asked.prompts[b].size() + thoughts[b];
  });
  Sequences prompts;
  for (const std::size_t i : open) {
    prompts.push_back(asked.prompts[i]);
    prompts.back().insert(prompts.back().end(), texts[i].begin(),
                          texts[i].begin() + static_cast<std::ptrdiff_t>(thoughts[i]));
  }
  for (std::size_t answerer = 0; answerer < specs.size(); ++answerer) {
    auto whole = texts;
    if (answerer != thinker) {
      const auto answers = continuations(model, specs[answerer], prompts, asked.max_length);
      for (std::size_t k = 0; k < open.size(); ++k) {
        whole[open[k]].resize(thoughts[open[k]]);
        whole[open[k]].insert(whole[open[k]].end(), answers[k].begin(), answers[k].end());
      }
    }
    auto* const sum = &sums[3 * (thinker * specs.size() + answerer)];
    for (std::size_t i = 0; i < whole.size(); ++i) {
      sum[0] += is_right(asked.problems[i], whole[i]);
      const double all = generated_tokens(asked, i, whole[i]);
      sum[1] += switches[i] ? static_cast<double>(thoughts[i]) : all;
      sum[2] += switches[i] ? all - static_cast<double>(thoughts[i]) : 0;
    }
  }
}

template <class T>
std::vector<std::vector<PairAnswers>> Validation<T>::pair_answers(
    const LanguageModel<T>& model, const std::vector<SubmodelSpec>& specs,
    const std::vector<token_t>& marker) {
  const Region region("generation");
  const std::size_t count = specs.size();
  const Problems mine = my_problems();
  const Asked asked = ask(mine.begin, mine.end);
  PairSums sums(3 * count * count, 0.0);  // right answers, tokens of thought, tokens of the answer
  for_each_round(
      m_all, team_size(), static_cast<index_t>(count), [](index_t) {},
      [&](index_t thinker) {
        add_pairs_of(model, specs, static_cast<std::size_t>(thinker), marker, asked, sums);
      });
  all_reduce_sum(m_sharers, sums);
  const auto total = static_cast<double>(m_config.evaluate.problems);
  std::vector<std::vector<PairAnswers>> results(count, std::vector<PairAnswers>(count));
  for (std::size_t i = 0; i < count * count; ++i)
    results[i / count][i % count] = {.accuracy = sums[3 * i] / total,
                                     .thought_tokens = sums[3 * i + 1] / total,
                                     .answer_tokens = sums[3 * i + 2] / total};
  return results;
}

template <class T>
typename Validation<T>::Problems Validation<T>::my_problems() const {
  const index_t total = m_config.evaluate.problems,
                share = (total + m_sharers.size() - 1) / m_sharers.size(),
                begin = std::min(total, m_sharers.rank() * share);
  return {.begin = begin, .end = std::min(total, begin + share), .share = share};
}

template <class T>
double Validation<T>::accuracy(const LanguageModel<T>& model, const SubmodelSpec& spec) {
  const Region region("generation");
  const Problems mine = my_problems();
  double right = 0;
  for_each_round(
      m_all, team_size(), (mine.share + problems_at_once - 1) / problems_at_once, [](index_t) {},
      [&](index_t round) {
        const index_t first = mine.begin + round * problems_at_once;
        if (first < mine.end)
          right += right_answers(model, spec, first, std::min(mine.end, first + problems_at_once));
      });
  return all_reduce_sum(m_sharers, right) / static_cast<double>(m_config.evaluate.problems);
}

template <class T>
double Validation<T>::max_logit_difference(const LanguageModel<T>& a,
                                           const ActiveWidths<T>& a_widths,
                                           const LanguageModel<T>& b,
                                           const ActiveWidths<T>& b_widths, index_t seq_length) {
  Batch whole;
  double result = 0;
  for_each_round(
      m_all, team_size(), 1,
      [&](index_t) {
        whole = m_batches.read(*m_source,
                               {.split = Split::validation, .count = 1, .seq_length = seq_length});
      },
      [&](index_t) {
        const Arena::Scope scope(m_arena);
        result = max_logit_difference(m_batches.load(whole), a, a_widths, b, b_widths);
        if (!std::isfinite(result))
          throw NumericsError(fmt::format("difference of logits computed in two ways: {}", result));
      });
  return result;
}

template <class T>
double Validation<T>::max_logit_difference(const MicroBatch& batch, const LanguageModel<T>& a,
                                           const ActiveWidths<T>& a_widths,
                                           const LanguageModel<T>& b,
                                           const ActiveWidths<T>& b_widths) {
  const auto& context = batch.context;
  const index_t tokens = context.num_tokens(), vocab = a.shape().vocab_size,
                chunk = std::min(tokens, m_config.parallel.logit_chunk_tokens);
  const auto hidden_of = [&](const LanguageModel<T>& model, const ActiveWidths<T>& widths) {
    auto pass = model.make_pass(Keep::nothing);
    model.forward(context, widths, batch.tokens, pass);
    return pass.hidden;
  };
  const auto a_hidden = hidden_of(a, a_widths), b_hidden = hidden_of(b, b_widths);
  const auto a_logits = m_arena.matrix<T>(chunk, vocab), b_logits = m_arena.matrix<T>(chunk, vocab);
  const auto difference = m_arena.vector<Accumulate<T>>(tokens);
  for (index_t begin = 0; begin < tokens; begin += chunk) {
    const index_t end = std::min(tokens, begin + chunk);
    const auto a_rows = rows(a_logits, 0, end - begin), b_rows = rows(b_logits, 0, end - begin);
    a.all_logits(context.products(), m_arena, rows(a_hidden, begin, end), a_rows);
    b.all_logits(context.products(), m_arena, rows(b_hidden, begin, end), b_rows);
    kernels::max_abs_difference<T>(m_exec, a_rows, b_rows,
                                   Kokkos::subview(difference, Range(begin, end)));
  }
  return largest(difference);
}

template class Validation<float>;
template class Validation<bfloat16>;

}  // namespace elastic
