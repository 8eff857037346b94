// SPDX-License-Identifier: Apache-2.0
#include "elastic/soft_widths.hpp"

#include <algorithm>
#include <cmath>

#include "arch/layer_kind.hpp"
#include "base/on_grid.hpp"

namespace elastic {
namespace {

/// A mixture of the prefixes of one axis: what one decision says about the `full` units it
/// covers, of which `shard` holds some.
struct Mixture {
  std::vector<index_t> widths;
  std::vector<double> pi;    // of the forward pass
  std::vector<double> kept;  // soft; > 0 where extents reach and gradients go
  index_t full;
  Shard shard = {};

  double ratio(std::size_t i) const {
    return static_cast<double>(widths[i]) / static_cast<double>(full);
  }
  bool hard() const {
    return std::count_if(kept.begin(), kept.end(), [](double p) { return p > 0; }) == 1;
  }
  index_t local_width(std::size_t i) const { return local_count(widths[i], shard); }
  /// This rank's units of the widest choice left.
  index_t extent() const {
    index_t widest = 0;
    for (std::size_t i = 0; i < kept.size(); ++i)
      if (kept[i] > 0) widest = std::max(widest, local_width(i));
    return widest;
  }
  /// m_j of all j < extent().
  std::vector<double> mask() const {
    std::vector<double> m(static_cast<std::size_t>(extent()), 0.0);
    for (std::size_t i = 0; i < pi.size(); ++i)
      if (pi[i] > 0)
        for (index_t j = 0; j < local_width(i); ++j) m[j] += pi[i];
    return m;
  }
  double mean_ratio() const {
    double sum = 0;
    for (std::size_t i = 0; i < pi.size(); ++i) sum += pi[i] * ratio(i);
    return sum;
  }
  double mean_root() const {
    double sum = 0;
    for (std::size_t i = 0; i < pi.size(); ++i) sum += pi[i] * std::sqrt(ratio(i));
    return sum;
  }
  /// For the choices left, dpi_i += sum of dm_j over the band j < width_i,
  /// and += sqrt(rho_i) dscale of each norm.
  void add_gradient(const std::vector<double>& dm, const std::vector<double>& dscale,
                    std::vector<double>& dpi) const {
    std::vector<double> sums(dm.size() + 1, 0.0);
    for (std::size_t j = 0; j < dm.size(); ++j) sums[j + 1] = sums[j] + on_grid(dm[j]);
    for (std::size_t i = 0; i < kept.size(); ++i)
      if (kept[i] > 0) {
        dpi[i] += sums[local_width(i)];
        for (const double d : dscale) dpi[i] += on_grid(std::sqrt(ratio(i)) * d);
      }
  }
};

/// The mixture of decision `d`, or the hard full width for d < 0.
Mixture mixture_of(const std::vector<Decision>& decisions, const KeptChoices& kept, index_t d,
                   index_t full, const Shard& shard = {}) {
  if (d < 0) return {{full}, {1.0}, {1.0}, full, shard};
  return {decisions[d].widths, kept.value[d], kept.soft[d], full, shard};
}

/// Mask of every channel of every unit.
std::vector<double> product(const std::vector<double>& units, const std::vector<double>& channels) {
  std::vector<double> all;
  for (const double u : units)
    for (const double c : channels) all.push_back(u * c);
  return all;
}

/// Norm of a soft prefix, computed over `full` channels.
template <class T>
NormWidths<T> soft_norm(double epsilon, index_t full, double ratio, double scale,
                        View1<Accumulate<T>> dscale) {
  return {{epsilon * ratio, static_cast<double>(full), scale}, dscale};
}

}  // namespace

template <class T>
SoftWidths<T>::SoftWidths(const ModelShape& parent, const ElasticSpace& space,
                          double epsilon_choice, const Shard& shard)
    : m_parent(parent),
      m_space(space),
      m_shard(shard),
      m_decisions(list_decisions(parent, space)),
      m_epsilon_choice(epsilon_choice) {
  check_space(parent, space);
  auto reserve = [size = index_t{0}](index_t count) mutable {
    const index_t offset = size;
    size += (count + 15) / 16 * 16;  // whole cache lines
    return offset;
  };
  m_hidden_offset = reserve(parent.hidden_size);
  m_norm_offset = reserve(1);
  m_layers.resize(parent.layers.size());
  for (auto& layer : m_layers) layer.gamma = reserve(1);
  m_num_shared = reserve(0);
  for (std::size_t l = 0; l < m_layers.size(); ++l) {
    const auto& layer = parent.layers[l];
    const index_t units = local_count(layer.width, shard);
    m_layers[l].inner = reserve(units * layer.head_channels);
    m_layers[l].heads = reserve(units);
    m_layers[l].scale = reserve(local_count(layer.num_groups, shard));
  }
  const index_t total = reserve(0);
  m_values = View1<Accumulate<T>>("elastic::soft_values", total);
  m_gradients = View1<Accumulate<T>>("elastic::soft_gradients", total);
  m_host_values = Kokkos::create_mirror_view(HostSpace(), m_values);
  m_host_gradients = Kokkos::create_mirror_view(HostSpace(), m_gradients);
  assign_decisions();
}

template <class T>
void SoftWidths<T>::assign_decisions() {
  for (std::size_t d = 0; d < m_decisions.size(); ++d) {
    const auto& decision = m_decisions[d];
    if (decision.axis == Axis::hidden) m_hidden_decision = static_cast<index_t>(d);
    if (decision.axis == Axis::depth) m_depth_decision = static_cast<index_t>(d);
    for (const index_t l : decision_layers(m_parent, decision))
      (chooses_channels(decision.axis) ? m_layers[l].channel_decision
                                       : m_layers[l].width_decision) = static_cast<index_t>(d);
  }
  if (m_depth_decision >= 0)
    for (index_t r = 0; r < m_decisions[m_depth_decision].widths.back(); ++r)
      m_layers[m_space.drop_order[r]].drop_place = r;
}

template <class T>
SoftMask<T> SoftWidths<T>::mask_at(index_t offset, const std::vector<double>& values) {
  for (std::size_t j = 0; j < values.size(); ++j)
    m_host_values(offset + static_cast<index_t>(j)) = static_cast<Accumulate<T>>(values[j]);
  return {View1<Accumulate<T>>(m_values.data() + offset, values.size()),
          View1<Accumulate<T>>(m_gradients.data() + offset, values.size())};
}

template <class T>
View1<Accumulate<T>> SoftWidths<T>::gradients_at(index_t offset, index_t count) const {
  return View1<Accumulate<T>>(m_gradients.data() + offset, count);
}

template <class T>
void SoftWidths<T>::set_hidden() {
  const auto hidden = mixture_of(m_decisions, m_kept, m_hidden_decision, m_parent.hidden_size);
  m_active.hidden = hidden.extent();
  m_active.hidden_mask = {};
  m_active.norm = {{m_parent.norm_epsilon, static_cast<double>(hidden.extent()), 1.0}, {}};
  if (hidden.hard()) return;
  m_active.hidden_mask = mask_at(m_hidden_offset, hidden.mask());
  m_active.norm = soft_norm<T>(m_parent.norm_epsilon, m_parent.hidden_size, hidden.mean_ratio(),
                               hidden.mean_root(), gradients_at(m_norm_offset));
}

template <class T>
void SoftWidths<T>::set_masks(index_t l) {
  const auto& shape = m_parent.layers[l];
  const auto& kind = description_of(shape);
  auto& layer = m_active.layers[l];
  const auto units =
      mixture_of(m_decisions, m_kept, m_layers[l].width_decision, shape.width, m_shard);
  const auto channels =
      mixture_of(m_decisions, m_kept, m_layers[l].channel_decision, shape.head_channels);
  layer.width = units.extent();
  layer.head_channels = channels.extent();
  const index_t groups = local_count(shape.num_groups, m_shard);
  const index_t group_width = layer.width * layer.head_channels / groups;
  if (kind.group_norm)
    layer.gated_norm = {{m_parent.norm_epsilon, static_cast<double>(group_width), 1.0}, {}};
  if (units.hard() && channels.hard()) return;
  const auto unit_mask = units.mask();
  layer.inner = mask_at(m_layers[l].inner,
                        kind.channel_axis ? product(unit_mask, channels.mask()) : unit_mask);
  if (kind.unit_mask && !units.hard()) layer.heads = mask_at(m_layers[l].heads, unit_mask);
  if (kind.group_norm)
    layer.gated_norm = soft_norm<T>(m_parent.norm_epsilon, shape.inner() / shape.num_groups,
                                    units.mean_ratio() * channels.mean_ratio(),
                                    units.mean_root() * channels.mean_root(),
                                    gradients_at(m_layers[l].scale, groups));
}

template <class T>
void SoftWidths<T>::set_layer(index_t l) {
  auto& layer = m_active.layers[l];
  layer = {};
  set_masks(l);
  if (m_layers[l].drop_place < 0) return;
  const auto depth = mixture_of(m_decisions, m_kept, m_depth_decision, 0);
  double gamma = 0, kept = 0;
  for (std::size_t i = 0; i < depth.pi.size(); ++i) {
    if (depth.widths[i] > m_layers[l].drop_place) continue;
    gamma += depth.pi[i];
    kept += depth.kept[i];
  }
  layer.active = kept > 0;
  layer.gamma = static_cast<Accumulate<T>>(gamma);
  if (!depth.hard() && layer.active) layer.dgamma = gradients_at(m_layers[l].gamma);
}

template <class T>
const ActiveWidths<T>& SoftWidths<T>::set(const ExecutionSpace& exec, const RouterDraw& draw) {
  ELASTIC_REQUIRE(draw.value.size() == m_decisions.size(), "{} lists for {} decisions",
                  draw.value.size(), m_decisions.size());
  for (std::size_t d = 0; d < m_decisions.size(); ++d)
    ELASTIC_REQUIRE(draw.value[d].size() == m_decisions[d].widths.size(),
                    "{} probabilities for {} choices", draw.value[d].size(),
                    m_decisions[d].widths.size());
  m_kept = keep_choices(draw, m_epsilon_choice);
  fence(exec, "elastic::soft_widths_set");  // what the host copy held may still be on its way
  m_active.layers.resize(m_layers.size());
  set_hidden();
  for (index_t l = 0; l < m_parent.num_layers(); ++l) set_layer(l);
  Kokkos::deep_copy(exec, m_values, m_host_values);
  Kokkos::deep_copy(exec, m_gradients, Accumulate<T>(0));
  return m_active;
}

template <class T>
void SoftWidths<T>::add_gate_gradient(index_t l, Probabilities& dpi) const {
  if (m_active.layers[l].dgamma.size() == 0) return;
  const auto& drops = m_decisions[m_depth_decision].widths;
  for (std::size_t i = 0; i < drops.size(); ++i)
    if (m_kept.soft[m_depth_decision][i] > 0 && drops[i] <= m_layers[l].drop_place)
      dpi[m_depth_decision][i] += on_grid(m_host_gradients(m_layers[l].gamma));
}

template <class T>
void SoftWidths<T>::add_layer_gradient(index_t l, Probabilities& dpi) const {
  const auto& shape = m_parent.layers[l];
  const auto& place = m_layers[l];
  const auto& active = m_active.layers[l];
  if (active.inner.value.size() == 0) return;
  const auto at = [&](index_t offset) { return static_cast<double>(m_host_gradients(offset)); };
  const auto& kind = description_of(shape);
  const auto units = mixture_of(m_decisions, m_kept, place.width_decision, shape.width, m_shard);
  const auto block = mixture_of(m_decisions, m_kept, place.channel_decision,
                                kind.channel_axis ? shape.head_channels : 1);
  const auto unit_mask = units.mask(), block_mask = block.mask();
  std::vector<double> dunits(unit_mask.size(), 0.0), dblock(block_mask.size(), 0.0);
  index_t j = place.inner;
  for (std::size_t u = 0; u < dunits.size(); ++u)
    for (std::size_t c = 0; c < dblock.size(); ++c, ++j) {
      dunits[u] += block_mask[c] * at(j);
      dblock[c] += on_grid(unit_mask[u] * at(j));
    }
  if (active.heads.value.size() > 0)
    for (std::size_t u = 0; u < dunits.size(); ++u)
      dunits[u] += at(place.heads + static_cast<index_t>(u));
  std::vector<double> dunits_scale, dblock_scale;  // of each group's norm
  for (std::size_t g = 0; kind.group_norm && g < active.gated_norm.dscale.size(); ++g) {
    const double dscale = at(place.scale + static_cast<index_t>(g));
    dunits_scale.push_back(block.mean_root() * dscale);
    dblock_scale.push_back(units.mean_root() * dscale);
  }
  if (!units.hard()) units.add_gradient(dunits, dunits_scale, dpi[place.width_decision]);
  if (!block.hard()) block.add_gradient(dblock, dblock_scale, dpi[place.channel_decision]);
}

template <class T>
Probabilities SoftWidths<T>::gradient(const ExecutionSpace& exec) const {
  Kokkos::deep_copy(exec, m_host_gradients, m_gradients);
  fence(exec, "elastic::soft_widths_gradient");
  Probabilities dpi;
  for (const auto& decision : m_decisions) dpi.emplace_back(decision.widths.size(), 0.0);
  const bool counts_shared = m_shard.rank == 0;
  if (counts_shared && m_active.hidden_mask.value.size() > 0) {
    const auto hidden = mixture_of(m_decisions, m_kept, m_hidden_decision, m_parent.hidden_size);
    const Accumulate<T>* begin = m_host_gradients.data() + m_hidden_offset;
    hidden.add_gradient(std::vector<double>(begin, begin + m_active.hidden),
                        std::vector<double>(1, m_host_gradients(m_norm_offset)),
                        dpi[m_hidden_decision]);
  }
  for (index_t l = 0; l < m_parent.num_layers(); ++l) {
    if (!m_active.layers[l].active) continue;
    if (counts_shared) add_gate_gradient(l, dpi);
    add_layer_gradient(l, dpi);
  }
  return dpi;
}

template class SoftWidths<bfloat16>;
template class SoftWidths<float>;
template class SoftWidths<double>;

}  // namespace elastic
