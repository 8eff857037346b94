// SPDX-License-Identifier: Apache-2.0
#include "model/inference_time.hpp"

#include <time.h>

#include <algorithm>

#include "base/region.hpp"
#include "comm/all_ranks_agree.hpp"
#include "comm/collectives.hpp"
#include "model/decoder.hpp"

namespace elastic {
namespace {

double clock_seconds(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// Wall time and processor times, of the process and of this thread.
struct Clocks {
  double wall = wall_seconds(), process = clock_seconds(CLOCK_PROCESS_CPUTIME_ID),
         thread = clock_seconds(CLOCK_THREAD_CPUTIME_ID);
  /// Wall time. Where this thread alone has worked, on a host, it is the time that the thread had a
  /// processor: on a machine of its own the same, and on a shared one not that of others.
  double since(const Clocks& start) const {
    constexpr double of_others = 0.02;
    const double by_process = process - start.process, by_thread = thread - start.thread,
                 by_wall = wall - start.wall;
    const bool alone =
        std::is_same_v<MemorySpace, HostSpace> && by_process - by_thread <= of_others * by_thread;
    return alone ? std::min(by_wall, by_thread) : by_wall;
  }
};

/// The parts of a model at some widths, in buffers that all passes use.
template <class T>
class PreparedPass {
 public:
  PreparedPass(const LanguageModel<T>& model, Arena& arena, const Inference& inference,
               const SubmodelSpec& spec, const PassParts& parts)
      : m_model(model),
        m_inference(inference),
        m_ends(parts.ends),
        m_layers(parts.layers),
        m_widths(model.widths(spec)),
        m_context{.exec = ExecutionSpace(),
                  .deterministic = false,
                  .arena = &arena,
                  .batch = inference.batch,
                  .seq_length = inference.decode ? 1 : inference.seq_length,
                  .segment = {}} {
    for (auto& layer : m_widths.layers) layer.active = false;
    for (const index_t l : m_layers) m_widths.layers[static_cast<std::size_t>(l)].active = true;
    const auto tokens = arena.vector<token_t>(m_context.num_tokens());
    std::vector<token_t> ids;
    for (index_t t = 0; t < m_context.num_tokens(); ++t)
      ids.push_back(static_cast<token_t>(t % model.shape().vocab_size));
    Kokkos::deep_copy(m_context.exec, tokens, HostView1<const token_t>(ids.data(), ids.size()));
    fence(m_context.exec, "elastic::timed_tokens");
    m_tokens = tokens;
    m_stream = embed();
    m_logits = arena.matrix<T>(inference.batch, model.shape().vocab_size);
    if (inference.decode)
      m_decoder.emplace(model.stack(), m_widths, inference.batch, inference.seq_length + 1,
                        /*history=*/0);
  }

  double seconds() {
    fence(m_context.exec, "elastic::timed_pass_begins");
    const Clocks start;
    run();
    fence(m_context.exec, "elastic::timed_pass_ends");
    return Clocks().since(start);
  }

 private:
  View2<T> embed() {
    if (!m_inference.decode) return m_model.embed(m_context, m_widths, m_tokens);
    return embed_all<T>(m_context, m_model, m_widths.hidden, m_tokens);
  }
  void pass_layers(const View2<T>& stream) {
    if (m_layers.empty()) return;
    if (m_decoder)
      m_decoder->extend(m_context, m_inference.seq_length, stream);
    else
      m_model.stack().forward_some(m_context, m_widths, m_layers, stream);
  }
  /// Final norm, and the logits of the last token of each sequence.
  void finish(const View2<T>& stream) {
    if (m_decoder) return finish_all<T>(m_context, m_model, m_widths, stream, m_logits);
    Arena& arena = *m_context.arena;
    const index_t count = stream.extent_int(0);
    const auto normed = arena.matrix<T>(count, m_widths.hidden);
    const auto rstd = arena.vector<Accumulate<T>>(count);
    const auto hidden = m_model.normalize(m_context, m_widths, stream, normed, rstd);
    const auto last = arena.matrix<T>(m_inference.batch, m_widths.hidden);
    Kokkos::deep_copy(m_context.exec, last,
                      of_each_sequence(hidden, m_inference.seq_length, m_inference.seq_length - 1));
    m_model.all_logits(m_context.products(), arena, last, m_logits);
  }
  void run() {
    const Arena::Scope scope(*m_context.arena);
    const auto stream = m_ends ? embed() : m_stream;
    pass_layers(stream);
    if (m_ends) finish(stream);
  }

  const LanguageModel<T>& m_model;
  Inference m_inference;
  bool m_ends;
  std::vector<index_t> m_layers;
  ActiveWidths<T> m_widths;
  LayerContext m_context;
  View1<const token_t> m_tokens;
  View2<T> m_stream, m_logits;
  std::optional<StackDecoder<T>> m_decoder;
};

}  // namespace

PassParts whole_submodel(const SubmodelSpec& spec) {
  PassParts parts;
  for (std::size_t l = 0; l < spec.layers.size(); ++l)
    if (spec.layers[l].keep) parts.layers.push_back(static_cast<index_t>(l));
  return parts;
}

template <class T>
double time_pass(const LanguageModel<T>& model, Arena& arena, const Inference& inference,
                 const SubmodelSpec& spec, const PassParts& parts) {
  constexpr int passes = 3;
  const Arena::Scope scope(arena);
  PreparedPass<T> pass(model, arena, inference, spec, parts);
  pass.seconds();
  double fastest = pass.seconds();
  for (int i = 1; i < passes; ++i) fastest = std::min(fastest, pass.seconds());
  return fastest;
}

std::vector<double> repeated_times(const Communicator& comm, std::size_t count,
                                   const TimingRounds& rounds,
                                   const std::function<double(std::size_t)>& time) {
  std::vector<std::vector<double>> times(count);
  const double end = wall_seconds() + rounds.seconds;
  for (int round = 0; round < rounds.most; ++round) {
    // All ranks do what the slowest has time for.
    const bool over = all_reduce_max(comm, wall_seconds() < end ? 0.0 : 1.0) > 0;
    if (over && round >= rounds.least) break;
    for (std::size_t i = 0; i < count; ++i) {
      agree_to_go_on(comm);
      times[i].push_back(time(i));
    }
  }
  std::vector<double> quartiles;
  for (auto& list : times) {
    const auto place = list.begin() + static_cast<std::ptrdiff_t>((list.size() - 1) / 4);
    std::nth_element(list.begin(), place, list.end());
    quartiles.push_back(*place);
  }
  all_reduce_max(comm, quartiles.data(), static_cast<index_t>(quartiles.size()));
  return quartiles;
}

#define ELASTIC_INSTANTIATE(T)                                                    \
  template double time_pass<T>(const LanguageModel<T>&, Arena&, const Inference&, \
                               const SubmodelSpec&, const PassParts&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
