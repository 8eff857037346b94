// SPDX-License-Identifier: Apache-2.0
// Generation by self-attention: keys and values of all positions so far are kept.
#include "layers/generation.hpp"
#include "layers/self_attention.hpp"
#include "layers/unit_sum.hpp"

namespace elastic {

template <class T>
class SelfAttention<T>::Generation final : public GenerationLayer<T> {
 public:
  explicit Generation(const SelfAttention& mixer) : m_mixer(mixer) {}

  std::unique_ptr<LayerCache> make_cache(const LayerActive<T>&, index_t batch, index_t max_length,
                                         index_t) const override {
    auto cache = std::make_unique<KvCache>();
    const index_t columns = m_mixer.m_groups * m_mixer.m_channels;
    cache->k = View2<T>("elastic::k_cache", batch * max_length, columns);
    cache->v = View2<T>("elastic::v_cache", batch * max_length, columns);
    cache->max_length = max_length;
    return cache;
  }
  std::unique_ptr<LayerCache> narrow_cache(const LayerContext&, const LayerActive<T>&,
                                           const LayerActive<T>&,
                                           LayerCache& wider) const override {
    return std::make_unique<KvCache>(static_cast<KvCache&>(wider));  // the same Views
  }
  void extend(const LayerContext& context, const LayerActive<T>& active, View2<const T> u,
              index_t position, LayerCache& cache, View2<Accumulate<T>> y) const override;

 private:
  struct KvCache : LayerCache {
    View2<T> k, v;  // [B*max_length, R*C]
    index_t max_length = 0;
  };
  const SelfAttention& m_mixer;
};

template <class T>
std::unique_ptr<GenerationLayer<T>> SelfAttention<T>::for_generation() const {
  return std::make_unique<Generation>(*this);
}

template <class T>
void SelfAttention<T>::Generation::extend(const LayerContext& context, const LayerActive<T>& active,
                                          View2<const T> u, index_t position,
                                          LayerCache& cache_base, View2<Accumulate<T>> y) const {
  auto& cache = static_cast<KvCache&>(cache_base);
  Arena& arena = *context.arena;
  const Arena::Scope scope(arena);
  const auto& store = m_mixer.m_store;
  const index_t channels = m_mixer.m_channels, length = context.seq_length,
                inner = active.width * channels, kv = m_mixer.m_groups * channels;
  const auto q = arena.matrix<T>(context.num_tokens(), inner),
             heads = arena.matrix<T>(context.num_tokens(), inner);
  const auto append = [&](index_t parameter, const View2<T>& all) {
    const auto newest = arena.matrix<T>(context.num_tokens(), kv);
    linear_forward<T>(context.products(), u, store[parameter].value, UnitRows::prefix(kv), newest);
    const View2<T> from(newest.data(), context.batch, length * kv),
        to(all.data(), context.batch, cache.max_length * kv);
    Kokkos::deep_copy(
        context.exec,
        Kokkos::subview(to, Kokkos::ALL, Range(position * kv, (position + length) * kv)), from);
  };
  linear_forward<T>(context.products(), u, store[m_mixer.m_q].value, UnitRows::prefix(inner), q);
  append(m_mixer.m_k, cache.k);
  append(m_mixer.m_v, cache.v);
  auto shape = m_mixer.shape_of(context, active);
  shape.seq_length = cache.max_length;
  for (index_t t = 0; t < length; ++t)
    kernels::attention_step<T>(context.exec, shape, position + t + 1,
                               of_each_sequence(q, length, t), cache.k, cache.v,
                               of_each_sequence(heads, length, t));
  linear_of_units<T>(context, store.shard(), heads, store[m_mixer.m_o].value,
                     UnitRows::units(active.width, channels), y);
}

template std::unique_ptr<GenerationLayer<bfloat16>> SelfAttention<bfloat16>::for_generation() const;
template std::unique_ptr<GenerationLayer<float>> SelfAttention<float>::for_generation() const;
template std::unique_ptr<GenerationLayer<double>> SelfAttention<double>::for_generation() const;

}  // namespace elastic
