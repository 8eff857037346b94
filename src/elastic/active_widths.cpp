// SPDX-License-Identifier: Apache-2.0
#include "elastic/active_widths.hpp"

#include <cmath>

#include "arch/layer_kind.hpp"

namespace elastic {
namespace {

/// Norm over exactly `width` channels.
template <class T>
NormWidths<T> plain_norm(const ModelShape& parent, index_t width) {
  return {{parent.norm_epsilon, static_cast<double>(width), 1.0}, {}};
}

/// Norm over `kept` of `full` channels, computed over all `full` of them.
template <class T>
NormWidths<T> corrected_norm(const ModelShape& parent, index_t kept, index_t full,
                             bool with_gradients, index_t groups = 1) {
  const double rho = static_cast<double>(kept) / static_cast<double>(full);
  NormWidths<T> norm{{parent.norm_epsilon * rho, static_cast<double>(full), std::sqrt(rho)}, {}};
  if (with_gradients) norm.dscale = View1<Accumulate<T>>("elastic::masked_dscale", groups);
  return norm;
}

/// 1 on the first kept_units units and first kept_block channels of each, 0 elsewhere.
template <class T>
SoftMask<T> block_mask(index_t units, index_t block, index_t kept_units, index_t kept_block,
                       bool with_gradients) {
  SoftMask<T> mask;
  mask.value = View1<Accumulate<T>>("elastic::masked_value", units * block);
  const auto host = Kokkos::create_mirror_view(mask.value);
  for (index_t u = 0; u < kept_units; ++u)
    for (index_t c = 0; c < kept_block; ++c) host(u * block + c) = Accumulate<T>(1);
  Kokkos::deep_copy(mask.value, host);
  if (with_gradients)
    mask.gradient = View1<Accumulate<T>>("elastic::masked_gradient", units * block);
  return mask;
}

template <class T>
LayerActive<T> prefix_layer(const ModelShape& parent, const LayerShape& full,
                            const LayerWidths& kept, const Shard& shard) {
  LayerActive<T> layer;
  layer.active = kept.keep;
  layer.gamma = kept.keep ? 1 : 0;
  layer.width = local_count(kept.width, shard);
  layer.head_channels = kept.head_channels;
  if (description_of(full).group_norm)
    layer.gated_norm = plain_norm<T>(parent, kept.width * kept.head_channels / full.num_groups);
  return layer;
}

template <class T>
LayerActive<T> masked_layer(const ModelShape& parent, const LayerShape& full,
                            const LayerWidths& kept, bool with_gradients, const Shard& shard) {
  LayerActive<T> layer;
  const index_t kept_units = local_count(kept.width, shard);
  layer.gamma = kept.keep ? 1 : 0;
  if (with_gradients) layer.dgamma = View1<Accumulate<T>>("elastic::masked_dgamma", 1);
  layer.width = local_count(full.width, shard);
  layer.head_channels = full.head_channels;
  const auto& kind = description_of(full);
  layer.inner = kind.channel_axis ? block_mask<T>(layer.width, full.head_channels, kept_units,
                                                  kept.head_channels, with_gradients)
                                  : block_mask<T>(layer.width, 1, kept_units, 1, with_gradients);
  if (kind.unit_mask) layer.heads = block_mask<T>(layer.width, 1, kept_units, 1, with_gradients);
  if (kind.group_norm)
    layer.gated_norm = corrected_norm<T>(parent, kept.width * kept.head_channels / full.num_groups,
                                         full.inner() / full.num_groups, with_gradients,
                                         local_count(full.num_groups, shard));
  return layer;
}

}  // namespace

template <class T>
ActiveWidths<T> prefix_widths(const ModelShape& parent, const SubmodelSpec& spec,
                              const Shard& shard) {
  check_spec(parent, spec);
  ActiveWidths<T> widths;
  widths.hidden = spec.hidden_size;
  widths.norm = plain_norm<T>(parent, spec.hidden_size);
  for (index_t l = 0; l < parent.num_layers(); ++l)
    widths.layers.push_back(prefix_layer<T>(parent, parent.layers[l], spec.layers[l], shard));
  return widths;
}

template <class T>
ActiveWidths<T> masked_widths(const ModelShape& parent, const SubmodelSpec& spec,
                              bool with_gradients, const Shard& shard) {
  check_spec(parent, spec);
  ActiveWidths<T> widths;
  widths.hidden = parent.hidden_size;
  widths.hidden_mask = block_mask<T>(parent.hidden_size, 1, spec.hidden_size, 1, with_gradients);
  widths.norm = corrected_norm<T>(parent, spec.hidden_size, parent.hidden_size, with_gradients);
  for (index_t l = 0; l < parent.num_layers(); ++l)
    widths.layers.push_back(
        masked_layer<T>(parent, parent.layers[l], spec.layers[l], with_gradients, shard));
  return widths;
}

#define ELASTIC_INSTANTIATE(T)                                                                     \
  template ActiveWidths<T> prefix_widths<T>(const ModelShape&, const SubmodelSpec&, const Shard&); \
  template ActiveWidths<T> masked_widths<T>(const ModelShape&, const SubmodelSpec&, bool,          \
                                            const Shard&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
