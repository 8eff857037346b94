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
constexpr std::uint64_t validation_stream = 1000002;
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
}  // namespace

template <class T>
Validation<T>::Validation(const Communicator& all, const Communicator& sharers,
                          const Communicator* team, const RunConfig& config, Arena& arena)
    : m_all(all),
      m_sharers(sharers),
      m_team(team),
      m_config(config),
      m_arena(arena),
      m_source(make_source(config, validation_stream)),
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
          states = {.model = teacher, .hidden = teacher_pass.hidden, .stored = {}};
        }
        model.forward(context, widths, batch.tokens, pass);
        const auto losses =
            evaluate_losses<T>(context, model, pass.hidden, batch.targets, states,
                               {.temperature = m_config.distill.temperature,
                                .tokens_per_chunk = m_config.parallel.logit_chunk_tokens});
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
double Validation<T>::right_answers(const LanguageModel<T>& model, const SubmodelSpec& spec,
                                    index_t first, index_t end) {
  const ReasoningProblems problems(
      reasoning_config(m_config), static_cast<std::uint32_t>(m_config.job.seed), validation_stream);
  const auto widths = model.widths(spec);
  std::vector<Problem> asked;
  std::vector<std::vector<token_t>> prompts;
  for (index_t i = first; i < end; ++i) {
    asked.push_back(problems.problem(Split::validation, i));
    prompts.push_back(prompt_tokens(asked.back()));
  }
  const auto answers =
      generate_greedy<T>({m_exec, m_config.job.deterministic}, m_arena, model, widths, prompts,
                         {.max_length = problems.longest_document() + 1,
                          .stop = CharacterVocabulary::end,
                          .go_on = [this] { go_on(); }});
  double right = 0;
  for (std::size_t i = 0; i < asked.size(); ++i)
    right += is_text(answers[i]) && check_answer(asked[i], CharacterVocabulary::decode(answers[i]));
  return right;
}

template <class T>
double Validation<T>::accuracy(const LanguageModel<T>& model, const SubmodelSpec& spec) {
  const Region region("generation");
  const index_t total = m_config.evaluate.problems,
                share = (total + m_sharers.size() - 1) / m_sharers.size();
  const index_t begin = m_sharers.rank() * share, end = std::min(total, begin + share);
  double right = 0;
  for_each_round(
      m_all, team_size(), (share + problems_at_once - 1) / problems_at_once, [](index_t) {},
      [&](index_t round) {
        const index_t first = begin + round * problems_at_once;
        if (first < end)
          right += right_answers(model, spec, first, std::min(end, first + problems_at_once));
      });
  return all_reduce_sum(m_sharers, right) / static_cast<double>(total);
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
