// SPDX-License-Identifier: Apache-2.0
#include "elastic/soft_widths.hpp"

#include <algorithm>
#include <cmath>

#include "arch/layer_kind.hpp"
#include "base/on_grid.hpp"

namespace elastic {
namespace {
using kernels::MaskProduct, kernels::MaskSteps;

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
  /// The mask on all units j < extent(): its steps end at the local widths of the choices left.
  /// Each piece has as many as a kernel takes.
  std::vector<MaskSteps> steps() const {
    std::vector<index_t> ends;
    for (std::size_t i = 0; i < kept.size(); ++i)
      if (kept[i] > 0 && local_width(i) > 0) ends.push_back(local_width(i));
    std::sort(ends.begin(), ends.end());
    ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
    std::vector<MaskSteps> pieces;
    index_t begin = 0;
    for (const index_t end : ends) {
      if (pieces.empty() || pieces.back().count == MaskSteps::most) {
        pieces.emplace_back();
        pieces.back().edge[0] = static_cast<int>(begin);
      }
      MaskSteps& piece = pieces.back();
      piece.value[piece.count++] = height(end);
      piece.edge[piece.count] = static_cast<int>(end);
      begin = end;
    }
    return pieces;
  }
  /// m_j of the last unit before `end`.
  double height(index_t end) const {
    double m = 0;
    for (std::size_t i = 0; i < pi.size(); ++i)
      if (pi[i] > 0 && end <= local_width(i)) m += pi[i];
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
  /// For the choices left, dpi_i += sum of dm_j over the units j < width_i, from its sums over
  /// steps, and += sqrt(rho_i) dscale of each norm.
  void add_gradient(const double* of_steps, const std::vector<double>& dscale,
                    std::vector<double>& dpi) const {
    std::vector<std::pair<index_t, double>> below{{0, 0.0}};  // sums over the units before an edge
    for (const MaskSteps& piece : steps())
      for (int b = 0; b < piece.count; ++b)
        below.emplace_back(piece.edge[b + 1], below.back().second + *of_steps++);
    for (std::size_t i = 0; i < kept.size(); ++i)
      if (kept[i] > 0) {
        for (const auto& [edge, sum] : below)
          if (edge == local_width(i)) dpi[i] += sum;
        for (const double d : dscale) dpi[i] += on_grid(std::sqrt(ratio(i)) * d);
      }
  }
  index_t num_steps() const {
    index_t count = 0;
    for (const MaskSteps& piece : steps()) count += piece.count;
    return count;
  }
};

/// The mixture of decision `d`, or the hard full width for d < 0.
Mixture mixture_of(const std::vector<Decision>& decisions, const KeptChoices& kept, index_t d,
                   index_t full, const Shard& shard = {}) {
  if (d < 0) return {{full}, {1.0}, {1.0}, full, shard};
  return {decisions[d].widths, kept.value[d], kept.soft[d], full, shard};
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
  for (std::size_t l = 0; l < m_layers.size(); ++l)
    m_layers[l].scale = reserve(local_count(parent.layers[l].num_groups, shard));
  m_scalars_end = reserve(0);
  for (std::size_t l = 0; l < m_layers.size(); ++l) {
    const index_t units = local_count(parent.layers[l].width, shard);
    m_layers[l].inner = reserve(units * parent.layers[l].head_channels);
    m_layers[l].heads = reserve(units);
  }
  const index_t total = reserve(0);
  m_values = View1<Accumulate<T>>("elastic::soft_values", total);
  m_gradients = View1<Accumulate<T>>("elastic::soft_gradients", total);
  assign_decisions();
  for (const Decision& decision : m_decisions)
    ELASTIC_REQUIRE(
        !chooses_channels(decision.axis) || decision.widths.size() <= std::size_t{MaskSteps::most},
        "{} choices of channels, at most {}", decision.widths.size(), int{MaskSteps::most});
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

/// A mask on `count` elements, and its gradient.
template <class T>
SoftMask<T> SoftWidths<T>::mask_at(index_t offset, index_t count) const {
  return {View1<Accumulate<T>>(m_values.data() + offset, count), gradients_at(offset, count)};
}

template <class T>
SoftMask<T> SoftWidths<T>::form_mask(const ExecutionSpace& exec, index_t offset,
                                     const std::vector<MaskSteps>& units,
                                     const MaskSteps& channels) const {
  SoftMask<T> mask;
  if (units.empty()) return mask;
  mask = mask_at(offset, units.back().edge[units.back().count] * channels.edge[channels.count]);
  for (const MaskSteps& piece : units) {
    const MaskProduct product{piece, channels};
    kernels::soft_mask_forward<Accumulate<T>>(
        exec, product, prefix(mask.value, product.last_unit() * product.num_channels()));
  }
  return mask;
}

template <class T>
View1<Accumulate<T>> SoftWidths<T>::gradients_at(index_t offset, index_t count) const {
  return View1<Accumulate<T>>(m_gradients.data() + offset, count);
}

template <class T>
void SoftWidths<T>::set_hidden(const ExecutionSpace& exec) {
  const auto hidden = mixture_of(m_decisions, m_kept, m_hidden_decision, m_parent.hidden_size);
  m_active.hidden = hidden.extent();
  m_active.hidden_mask = {};
  m_active.norm = {{m_parent.norm_epsilon, static_cast<double>(hidden.extent()), 1.0}, {}};
  if (hidden.hard()) return;
  m_active.hidden_mask = form_mask(exec, m_hidden_offset, hidden.steps());
  m_active.norm = soft_norm<T>(m_parent.norm_epsilon, m_parent.hidden_size, hidden.mean_ratio(),
                               hidden.mean_root(), gradients_at(m_norm_offset));
}

template <class T>
void SoftWidths<T>::set_masks(const ExecutionSpace& exec, index_t l) {
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
  const auto steps = units.steps();
  layer.inner = form_mask(exec, m_layers[l].inner, steps,
                          kind.channel_axis ? channels.steps().front() : kernels::single_channel());
  if (kind.unit_mask && !units.hard()) layer.heads = form_mask(exec, m_layers[l].heads, steps);
  if (kind.group_norm)
    layer.gated_norm = soft_norm<T>(m_parent.norm_epsilon, shape.inner() / shape.num_groups,
                                    units.mean_ratio() * channels.mean_ratio(),
                                    units.mean_root() * channels.mean_root(),
                                    gradients_at(m_layers[l].scale, groups));
}

template <class T>
void SoftWidths<T>::set_layer(const ExecutionSpace& exec, index_t l) {
  auto& layer = m_active.layers[l];
  layer = {};
  set_masks(exec, l);
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
  m_active.layers.resize(m_layers.size());
  set_hidden(exec);
  for (index_t l = 0; l < m_parent.num_layers(); ++l) set_layer(exec, l);
  Kokkos::deep_copy(exec, m_gradients, Accumulate<T>(0));
  return m_active;
}

/// The two mixtures of a layer whose inner mask is soft.
template <class T>
struct SoftWidths<T>::LayerMixtures {
  Mixture units, channels;
};
template <class T>
auto SoftWidths<T>::mixtures_of(const KeptChoices& kept, index_t l) const -> LayerMixtures {
  const auto& shape = m_parent.layers[l];
  const bool has_channels = description_of(shape).channel_axis.has_value();
  return {mixture_of(m_decisions, kept, m_layers[l].width_decision, shape.width, m_shard),
          mixture_of(m_decisions, kept, m_layers[l].channel_decision,
                     has_channels ? shape.head_channels : 1)};
}

/// Calls hidden(mixture, its offset) and layer(l, mixtures) for all soft masks whose gradients
/// this rank reduces, in the order in which their numbers lie.
template <class T>
template <class Hidden, class OfLayer>
void SoftWidths<T>::for_each_mask(const ActiveWidths<T>& active, const KeptChoices& kept,
                                  const Hidden& hidden, const OfLayer& of_layer) const {
  if (m_shard.rank == 0 && active.hidden_mask.value.size() > 0)
    hidden(mixture_of(m_decisions, kept, m_hidden_decision, m_parent.hidden_size));
  for (index_t l = 0; l < m_parent.num_layers(); ++l)
    if (active.layers[l].active && active.layers[l].inner.value.size() > 0)
      of_layer(l, mixtures_of(kept, l));
}

template <class T>
void SoftWidths<T>::reduce_mask(const ExecutionSpace& exec, const std::vector<MaskSteps>& units,
                                const MaskSteps& channels, const SoftMask<T>& mask,
                                const SoftMask<T>& of_units, NumberPart& part) const {
  for (const MaskSteps& piece : units)
    kernels::soft_mask_unit_gradients<Accumulate<T>>(exec, {piece, channels}, mask.gradient,
                                                     of_units.gradient, part.next(piece.count));
}

template <class T>
auto SoftWidths<T>::reduce(const ExecutionSpace& exec, Readback& readback) const -> Reduced {
  index_t count = m_scalars_end - m_norm_offset;
  for_each_mask(
      m_active, m_kept, [&](const Mixture& hidden) { count += hidden.num_steps(); },
      [&](index_t, const LayerMixtures& layer) {
        const auto pieces = static_cast<index_t>(layer.units.steps().size());
        count += layer.units.num_steps() + pieces * layer.channels.num_steps();
      });
  Reduced reduced{m_active, m_kept, readback.take(count)};
  NumberPart part{reduced.numbers};
  const index_t scalars = m_scalars_end - m_norm_offset;
  kernels::widen_all<Accumulate<T>>(exec, gradients_at(m_norm_offset, scalars), part.next(scalars));
  for_each_mask(
      m_active, m_kept,
      [&](const Mixture& hidden) {
        reduce_mask(exec, hidden.steps(), kernels::single_channel(), m_active.hidden_mask, {},
                    part);
      },
      [&](index_t l, const LayerMixtures& layer) {
        const auto& active = m_active.layers[l];
        const auto units = layer.units.steps();
        const MaskSteps channels = layer.channels.steps().front();
        reduce_mask(exec, units, channels, active.inner, active.heads, part);
        for (const MaskSteps& piece : units)
          kernels::soft_mask_channel_gradients<Accumulate<T>>(
              exec, {piece, channels}, active.inner.gradient, part.next(channels.count));
      });
  return reduced;
}

template <class T>
void SoftWidths<T>::add_gate_gradient(const Reduced& reduced, index_t l, const double* scalars,
                                      Probabilities& dpi) const {
  if (reduced.active.layers[l].dgamma.size() == 0) return;
  const auto& drops = m_decisions[m_depth_decision].widths;
  for (std::size_t i = 0; i < drops.size(); ++i)
    if (reduced.kept.soft[m_depth_decision][i] > 0 && drops[i] <= m_layers[l].drop_place)
      dpi[m_depth_decision][i] += on_grid(scalars[m_layers[l].gamma - m_norm_offset]);
}

template <class T>
void SoftWidths<T>::add_layer_gradient(const Reduced& reduced, index_t l,
                                       const LayerMixtures& layer, const double* scalars,
                                       const double*& next, Probabilities& dpi) const {
  const auto &units = layer.units, &channels = layer.channels;
  std::vector<double> dunits_scale, dchannels_scale;  // of each group's norm
  for (std::size_t g = 0; g < reduced.active.layers[l].gated_norm.dscale.size(); ++g) {
    const double dscale = scalars[m_layers[l].scale - m_norm_offset + static_cast<index_t>(g)];
    dunits_scale.push_back(channels.mean_root() * dscale);
    dchannels_scale.push_back(units.mean_root() * dscale);
  }
  if (!units.hard()) units.add_gradient(next, dunits_scale, dpi[m_layers[l].width_decision]);
  next += units.num_steps();
  const index_t num_channel_steps = channels.num_steps();
  std::vector<double> of_channels(static_cast<std::size_t>(num_channel_steps), 0.0);
  for (std::size_t piece = 0; piece < units.steps().size(); ++piece)
    for (double& sum : of_channels) sum += *next++;
  if (!channels.hard())
    channels.add_gradient(of_channels.data(), dchannels_scale, dpi[m_layers[l].channel_decision]);
}

template <class T>
Probabilities SoftWidths<T>::gradient(const Reduced& reduced, const Readback& readback) const {
  Probabilities dpi;
  for (const auto& decision : m_decisions) dpi.emplace_back(decision.widths.size(), 0.0);
  const double *scalars = readback.numbers(reduced.numbers),
               *next = scalars + (m_scalars_end - m_norm_offset);
  if (m_shard.rank == 0)
    for (index_t l = 0; l < m_parent.num_layers(); ++l)
      if (reduced.active.layers[l].active) add_gate_gradient(reduced, l, scalars, dpi);
  for_each_mask(
      reduced.active, reduced.kept,
      [&](const Mixture& hidden) {
        hidden.add_gradient(next, {scalars[0]}, dpi[m_hidden_decision]);
        next += hidden.num_steps();
      },
      [&](index_t l, const LayerMixtures& layer) {
        add_layer_gradient(reduced, l, layer, scalars, next, dpi);
      });
  return dpi;
}

template <class T>
Probabilities SoftWidths<T>::gradient(const ExecutionSpace& exec) const {
  Readback readback;
  const Reduced reduced = reduce(exec, readback);
  readback.read(exec);
  return gradient(reduced, readback);
}

template class SoftWidths<bfloat16>;
template class SoftWidths<float>;
template class SoftWidths<double>;

}  // namespace elastic
