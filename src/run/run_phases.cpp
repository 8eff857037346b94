// SPDX-License-Identifier: Apache-2.0
// The phases after training: slice, evaluate, report.
#include "base/log.hpp"
#include "base/region.hpp"
#include "base/version.hpp"
#include "config/budget_change.hpp"
#include "elastic/nesting.hpp"
#include "io/checkpoint_views.hpp"
#include "io/durable_file.hpp"
#include "model/slicing.hpp"
#include "run/folder/parent_copy.hpp"
#include "run/region_table.hpp"
#include "run/report.hpp"
#include "run/run.hpp"
#include "run/seconds_table.hpp"
#include "state/state_checkpoint.hpp"

namespace elastic {

template <class T>
void Run<T>::write_model_file() {
  write_file(m_folder.model(), [&](const StateWriter& writer) {
    write_model(writer, *m_state.model, m_deck.text, "elastic");
    write_ranking(writer, m_state.elastic->ranking);
    write_router(writer, *m_state.elastic->router);
    for (const auto& spec : m_specs) write_spec(writer, spec);
  });
}

namespace {
/// What one more submodel adds to a file: the difference of two without tensors, one with all
/// specs and one with none, by the number of specs. The files are removed.
std::uintmax_t bytes_of_a_spec(const RunFolder& folder, const std::vector<SubmodelSpec>& specs) {
  const auto path = folder.root / fmt::format("specs{}", temporary_suffix);
  const auto size_with = [&](std::size_t count) {
    CheckpointWriter file(path);
    for (std::size_t i = 0; i < count; ++i) write_spec(file, specs[i]);
    file.commit();
    const auto bytes = std::filesystem::file_size(path);
    std::filesystem::remove(path);
    return bytes;
  };
  return (size_with(specs.size()) - size_with(0)) / specs.size();
}
}  // namespace

template <class T>
void Run<T>::slice_phase() {
  const Region region("slice");
  m_specs = submodels_for(m_config, m_state, /*with_extra_budgets=*/true);
  for (const auto& gap : nesting_gaps(m_state.model->shape(), m_specs))
    log::warn("submodels are not nested: {}", gap);
  agree_to_go_on(m_comm);
  write_model_file();
  on_root([&] {
    m_results.model_file_bytes = std::filesystem::file_size(m_folder.model());
    m_results.extra_bytes_per_submodel = bytes_of_a_spec(m_folder, m_specs);
  });
  for (const auto& spec : m_specs) {
    agree_to_go_on(m_comm);
    write_file(m_folder.submodel(spec.name), [&](const StateWriter& writer) {
      write_sliced(writer, *m_state.model, spec, m_deck.text);
    });
  }
  log::info("{} holds {} submodels; one more costs {} bytes", m_folder.model().string(),
            m_specs.size(), m_results.extra_bytes_per_submodel);
}

template <class T>
const LanguageModel<T>& Run<T>::parent() {
  if (!m_state.elastic) return *m_state.model;
  auto& teacher = m_state.elastic->teacher;
  if (!teacher) {  // all stages train their teacher
    teacher = make_teacher(*m_state.model);
    require_parent(m_comm, m_folder, m_parent_hash);
    read_together(m_folder.parent(),
                  [&](const StateReader& reader) { read_model(reader, *teacher); });
  }
  return *teacher;
}

template <class T>
BudgetResult Run<T>::evaluate_budget(const SubmodelSpec& spec, bool trained) {
  const auto& model = *m_state.model;
  const auto& teacher = parent();
  const ModelShape& shape = model.shape();
  const index_t seq_length = last_seq_length(m_curriculum, m_config);
  BudgetResult result{.spec = spec,
                      .trained = trained,
                      .description = describe(shape, spec),
                      .costs = {},
                      .validation = {}};
  result.parameters = parameter_count(shape, spec);
  for (const auto& config : m_config.elastic.loss.costs)
    result.costs.push_back(
        {config.kind, cost(shape, spec, config), relative_cost(shape, spec, config)});
  result.forward_flops_per_token = forward_flops_per_token(shape, spec, seq_length);
  result.validation = m_validation->losses(model, spec, &teacher, seq_length);
  result.valid_loss_cut_untrained =
      m_validation->losses(teacher, spec, nullptr, seq_length).cross_entropy;
  if (m_validation->has_problems()) {
    result.accuracy = m_validation->accuracy(model, spec);
    result.accuracy_cut_untrained = m_validation->accuracy(teacher, spec);
  }
  const auto prefix = model.widths(spec),
             masked = masked_widths<T>(shape, spec, false, model.shard());
  const auto sliced = slice_model(model, spec);
  const auto sliced_full = sliced->full_widths();
  result.max_abs_diff_sliced_vs_prefix =
      m_validation->max_logit_difference(model, prefix, *sliced, sliced_full, seq_length);
  result.max_abs_diff_masked_vs_prefix =
      m_validation->max_logit_difference(model, prefix, model, masked, seq_length);
  on_root([&] {
    if (std::filesystem::exists(m_folder.submodel(spec.name)))
      result.sliced_file_bytes = std::filesystem::file_size(m_folder.submodel(spec.name));
  });
  return result;
}

template <class T>
bool Run<T>::evaluate_phase() {
  const Region region("evaluate");
  const auto& before = parent();
  const SubmodelSpec full = full_spec(before.shape());
  m_results.parent_parameters = parameter_count(before.shape(), full);
  m_results.parent_valid_loss =
      m_validation->losses(before, full, nullptr, last_seq_length(m_curriculum, m_config))
          .cross_entropy;
  if (m_validation->has_problems())
    m_results.parent_accuracy = m_validation->accuracy(before, full);
  // If this job has run no step, a new one would have no more time than this one had.
  const bool trained = m_results.seconds > 0;
  for (std::size_t i = 0; i < m_specs.size(); ++i) {
    if (trained && asked(0).stop) {
      log::info("stopped in the evaluation; continue with --resume");
      return false;
    }
    m_results.budgets.push_back(evaluate_budget(m_specs[i], i < m_config.elastic.budgets.size()));
  }
  if (!m_config.evaluate.switch_marker.empty() && m_validation->has_problems()) evaluate_pairs();
  return true;
}

template <class T>
void Run<T>::evaluate_pairs() {
  const auto marker = read_marker(m_config.data, m_config.evaluate.switch_marker);
  const auto answers = m_validation->pair_answers(*m_state.model, m_specs, marker);
  m_results.switch_marker = m_config.evaluate.switch_marker;
  for (std::size_t a = 0; a < m_specs.size(); ++a)
    for (std::size_t b = 0; b < m_specs.size(); ++b) {
      const PairAnswers& pair = answers[a][b];
      const BudgetResult &thinks = m_results.budgets[a], &answering = m_results.budgets[b];
      const double all = pair.thought_tokens + pair.answer_tokens;
      const auto mean = [&](double of_thoughts, double of_answers) {
        return (pair.thought_tokens * of_thoughts + pair.answer_tokens * of_answers) / all;
      };
      m_results.pairs.push_back(
          {.thinks = thinks.spec.name,
           .answers = answering.spec.name,
           .accuracy = pair.accuracy,
           .thought_tokens = pair.thought_tokens,
           .answer_tokens = pair.answer_tokens,
           .parameters = mean(thinks.parameters, answering.parameters),
           .relative_cost = mean(thinks.costs.front().relative, answering.costs.front().relative),
           .flops_per_token =
               mean(thinks.forward_flops_per_token, answering.forward_flops_per_token)});
    }
}

template <class T>
void Run<T>::report_phase() {
  m_results.name = m_config.job.name;
  m_results.version = project_version;
  m_results.deck_hash = m_deck.hash;
  m_results.ranks = m_comm.size();
  m_results.steps = m_state.step;
  m_results.tokens = m_curriculum.tokens_after(m_state.step);
  const std::string regions = region_table(m_comm, measure_gemm_peak<T>(ExecutionSpace()));
  require_folder();
  on_root([&] {
    write_results(m_folder, m_results);
    write_report(m_folder, m_config, m_curriculum, m_results, regions);
  });
  if (const auto line = seconds_line(m_results); !line.empty()) log::info("{}", line);
  log::info("{}\n{}\nreport: {}", regions, describe(m_results), m_folder.report().string());
}

#define ELASTIC_INSTANTIATE(T)                                              \
  template void Run<T>::write_model_file();                                 \
  template void Run<T>::slice_phase();                                      \
  template const LanguageModel<T>& Run<T>::parent();                        \
  template BudgetResult Run<T>::evaluate_budget(const SubmodelSpec&, bool); \
  template bool Run<T>::evaluate_phase();                                   \
  template void Run<T>::evaluate_pairs();                                   \
  template void Run<T>::report_phase();
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(bfloat16)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
