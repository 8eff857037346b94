// SPDX-License-Identifier: Apache-2.0
// Generation by the Mamba-2 mixer: products for all new positions at once, then convolution
// and recurrence position by position.
#include "layers/generation.hpp"
#include "layers/mamba_mixer.hpp"

namespace elastic {

template <class T>
class MambaMixer<T>::Generation final : public GenerationLayer<T> {
 public:
  explicit Generation(const MambaMixer& mixer) : m_mixer(mixer) {}

  std::unique_ptr<LayerCache> make_cache(const LayerActive<T>& active, index_t batch,
                                         index_t max_length, index_t history) const override;
  std::unique_ptr<LayerCache> narrow_cache(const LayerContext& context, const LayerActive<T>& from,
                                           const LayerActive<T>& to,
                                           LayerCache& wider) const override;
  void extend(const LayerContext& context, const LayerActive<T>& active, View2<const T> u,
              index_t position, LayerCache& cache, View2<Accumulate<T>> y) const override;

 private:
  /// What is left of the positions so far. Convolutions keep their last W - 1 inputs.
  struct State {
    View2<T> conv_x, conv_B, conv_C;  // [B, channels * (W-1)]
    View2<Accumulate<T>> ssm;         // [B*H, P*N]
  };
  struct MambaCache : LayerCache {
    std::vector<State> states;  // history + 1: the state before position p at p % (history + 1)
    State& before(index_t position) {
      return states[static_cast<std::size_t>(position) % states.size()];
    }
  };

  static void clear(const ExecutionSpace& exec, const State& state);
  /// Advances by position t of a block of new ones: from saved.*.projected and the state `before`
  /// to saved.*.convolved, saved.scanned and the state `after` it, which may be the same memory.
  void advance(const LayerContext& context, const LayerActive<T>& active, index_t t,
               const MambaSaved& saved, const State& before, const State& after) const;

  const MambaMixer& m_mixer;
};

template <class T>
std::unique_ptr<GenerationLayer<T>> MambaMixer<T>::for_generation() const {
  return std::make_unique<Generation>(*this);
}

template <class T>
std::unique_ptr<LayerCache> MambaMixer<T>::Generation::make_cache(const LayerActive<T>& active,
                                                                  index_t batch, index_t,
                                                                  index_t history) const {
  auto cache = std::make_unique<MambaCache>();
  const index_t taps = m_mixer.m_d_conv - 1, state = m_mixer.m_groups * m_mixer.m_state_dim;
  for (index_t i = 0; i <= history; ++i)
    cache->states.push_back(
        {.conv_x =
             View2<T>("elastic::conv_x_cache", batch, m_mixer.channels_of(active).size() * taps),
         .conv_B = View2<T>("elastic::conv_B_cache", batch, state * taps),
         .conv_C = View2<T>("elastic::conv_C_cache", batch, state * taps),
         .ssm = View2<Accumulate<T>>("elastic::ssm_cache", batch * active.width,
                                     active.head_channels * m_mixer.m_state_dim)});
  return cache;
}

template <class T>
std::unique_ptr<LayerCache> MambaMixer<T>::Generation::narrow_cache(const LayerContext& context,
                                                                    const LayerActive<T>& from,
                                                                    const LayerActive<T>& to,
                                                                    LayerCache& wider) const {
  const auto& full = static_cast<MambaCache&>(wider).states;
  auto cache = make_cache(to, context.batch, 0, static_cast<index_t>(full.size()) - 1);
  // Heads are rows, of `size` values for each channel.
  const auto cut = [&](const auto& all, const auto& kept, index_t size) {
    using Heads = std::decay_t<decltype(all)>;
    const index_t from_columns = from.head_channels * size, to_columns = to.head_channels * size;
    const Heads from_heads(all.data(), context.batch * from.width, from_columns),
        to_heads(kept.data(), context.batch * to.width, to_columns);
    for (index_t b = 0; b < context.batch; ++b)
      Kokkos::deep_copy(
          context.exec, rows(to_heads, b * to.width, (b + 1) * to.width),
          prefix(rows(from_heads, b * from.width, (b + 1) * from.width), to.width, to_columns));
  };
  auto& narrow = static_cast<MambaCache&>(*cache).states;
  for (std::size_t i = 0; i < full.size(); ++i) {
    cut(full[i].conv_x, narrow[i].conv_x, m_mixer.m_d_conv - 1);
    cut(full[i].ssm, narrow[i].ssm, m_mixer.m_state_dim);
    narrow[i].conv_B = full[i].conv_B;
    narrow[i].conv_C = full[i].conv_C;
  }
  return cache;
}

template <class T>
void MambaMixer<T>::Generation::clear(const ExecutionSpace& exec, const State& state) {
  Kokkos::deep_copy(exec, state.conv_x, T(0));
  Kokkos::deep_copy(exec, state.conv_B, T(0));
  Kokkos::deep_copy(exec, state.conv_C, T(0));
  Kokkos::deep_copy(exec, state.ssm, Accumulate<T>(0));
}

template <class T>
void MambaMixer<T>::Generation::advance(const LayerContext& context, const LayerActive<T>& active,
                                        index_t t, const MambaSaved& saved, const State& before,
                                        const State& after) const {
  const auto now = [&](const View2<T>& all) {
    return of_each_sequence(all, context.seq_length, t);
  };
  const auto convolve = [&](const Signal& signal, View2<const T> weight, View1<const T> bias,
                            const View2<T>& inputs_before, const View2<T>& last_inputs) {
    if (last_inputs.data() != inputs_before.data())
      Kokkos::deep_copy(context.exec, last_inputs, inputs_before);
    kernels::causal_conv1d_step<T>(context.exec, now(signal.projected), weight, bias, last_inputs,
                                   now(signal.convolved));
  };
  convolve(saved.x, saved.channels.conv_weight, saved.channels.conv_bias, before.conv_x,
           after.conv_x);
  convolve(saved.ssm_B, m_mixer.m_store[m_mixer.m_conv_B.weight].value,
           m_mixer.m_store[m_mixer.m_conv_B.bias].value_vector(), before.conv_B, after.conv_B);
  convolve(saved.ssm_C, m_mixer.m_store[m_mixer.m_conv_C.weight].value,
           m_mixer.m_store[m_mixer.m_conv_C.bias].value_vector(), before.conv_C, after.conv_C);
  auto shape = m_mixer.scan_shape(context, active);
  shape.seq_length = 1;
  auto inputs = m_mixer.scan_inputs(context, active, saved);
  inputs.x = now(saved.x.convolved);
  inputs.ssm_B = now(saved.ssm_B.convolved);
  inputs.ssm_C = now(saved.ssm_C.convolved);
  inputs.dt_raw = now(saved.dt_raw);
  inputs.segment = {};
  kernels::ssd_step<T>(context.exec, shape, inputs, before.ssm, after.ssm, now(saved.scanned));
}

template <class T>
void MambaMixer<T>::Generation::extend(const LayerContext& context, const LayerActive<T>& active,
                                       View2<const T> u, index_t position, LayerCache& cache_base,
                                       View2<Accumulate<T>> y) const {
  auto& cache = static_cast<MambaCache&>(cache_base);
  Arena& arena = *context.arena;
  const Arena::Scope scope(arena);
  const index_t tokens = context.num_tokens(), channels = m_mixer.channels_of(active).size();
  MambaSaved saved;
  m_mixer.project(context, active, u, saved);
  for (Signal* signal : {&saved.x, &saved.ssm_B, &saved.ssm_C})
    signal->convolved = arena.matrix<T>(tokens, signal->projected.extent_int(1));
  saved.scanned = arena.matrix<T>(tokens, channels);
  if (position == 0) clear(context.exec, cache.before(0));
  for (index_t t = 0; t < context.seq_length; ++t) {
    advance(context, active, t, saved, cache.before(position + t), cache.before(position + t + 1));
  }
  saved.normed = arena.matrix<T>(tokens, channels);
  saved.rstd = arena.matrix<Accumulate<T>>(tokens, m_mixer.m_groups);
  kernels::gated_rmsnorm_forward<T>(context.exec, {saved.scanned, saved.z, saved.channels.norm},
                                    m_mixer.norm_params(active), saved.normed, saved.rstd);
  linear_of_units<T>(context, m_mixer.m_store.shard(), saved.normed,
                     m_mixer.m_store[m_mixer.m_out].value, m_mixer.channels_of(active), y);
}

template std::unique_ptr<GenerationLayer<bfloat16>> MambaMixer<bfloat16>::for_generation() const;
template std::unique_ptr<GenerationLayer<float>> MambaMixer<float>::for_generation() const;
template std::unique_ptr<GenerationLayer<double>> MambaMixer<double>::for_generation() const;

}  // namespace elastic
