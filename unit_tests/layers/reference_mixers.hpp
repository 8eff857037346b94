// SPDX-License-Identifier: Apache-2.0
// The mixers by their equations (src/layers/README.md), in double on the host: projections one
// element at a time, convolution and scan position by position, attention with its whole matrix.
#pragma once
#include <map>
#include <numeric>

#include "elastic/active_widths.hpp"
#include "unit_tests/kernels/attention/reference_attention.hpp"
#include "unit_tests/kernels/scan/reference_ssd.hpp"
#include "unit_tests/layers/parameters_for_tests.hpp"

namespace elastic::test {

/// One layer with its whole tensors, to be evaluated on any of its submodels.
class ReferenceMixer {
 public:
  /// The tensors of layer 0 in `store`, which holds them whole.
  template <class T>
  ReferenceMixer(const ModelShape& shape, const ParameterStore<T>& store)
      : m_shape(shape), m_layer(shape.layers[0]) {
    for (const auto& p : store) {
      m_values[p.info.name.substr(std::string("layers.0.mixer.").size())] = values_of(p);
      m_columns[p.info.name.substr(std::string("layers.0.mixer.").size())] = p.columns;
    }
  }

  /// y [T, hidden] of u [T, hidden] in sequences of `length`; `segment` may be empty.
  template <class T>
  std::vector<double> forward(const LayerActive<T>& active, const std::vector<double>& u,
                              index_t hidden, index_t length, const std::vector<token_t>& segment) {
    m_u = u;
    m_hidden = hidden;
    m_tokens = static_cast<index_t>(u.size()) / hidden;
    m_length = length;
    m_segment = segment;
    const Widths widths{active.width, active.head_channels, to_double(active.inner.value),
                        to_double(active.heads.value), active.gated_norm.params};
    switch (m_layer.kind) {
      case LayerKind::mamba:
        return mamba(widths);
      case LayerKind::attention:
        return attention(widths);
      case LayerKind::mlp:
        return mlp(widths);
    }
    return {};
  }

 private:
  using Indices = std::vector<index_t>;
  struct Widths {
    index_t width, head_channels;
    std::vector<double> inner, heads;  // masks or empty
    kernels::RmsNormParams norm;
  };

  static Indices first(index_t n) {
    Indices indices(static_cast<std::size_t>(n));
    std::iota(indices.begin(), indices.end(), index_t(0));
    return indices;
  }
  static double masked(const std::vector<double>& mask, index_t i) {
    return mask.empty() ? 1 : mask[static_cast<std::size_t>(i)];
  }
  static double silu(double x) { return x / (1 + std::exp(-x)); }
  double at(const std::string& name, index_t row, index_t column) const {
    return m_values.at(name).at(row * m_columns.at(name) + column);
  }
  std::vector<double> elements(const std::string& name, const Indices& indices) const {
    std::vector<double> result;
    for (const index_t i : indices) result.push_back(m_values.at(name).at(i));
    return result;
  }
  std::vector<double> rows_of(const std::string& name, const Indices& indices) const {
    std::vector<double> result;
    for (const index_t i : indices)
      for (index_t c = 0; c < m_columns.at(name); ++c) result.push_back(at(name, i, c));
    return result;
  }
  /// [T, rows] = u W[rows, :hidden]^T
  std::vector<double> project(const std::string& name, const Indices& rows) const {
    std::vector<double> out;
    for (index_t t = 0; t < m_tokens; ++t)
      for (const index_t r : rows) {
        double sum = 0;
        for (index_t d = 0; d < m_hidden; ++d) sum += at(name, r, d) * m_u[t * m_hidden + d];
        out.push_back(sum);
      }
    return out;
  }
  /// [T, hidden] = x W[:hidden, columns]^T
  std::vector<double> back_to_stream(const std::string& name, const Indices& columns,
                                     const std::vector<double>& x) const {
    const auto n = static_cast<index_t>(columns.size());
    std::vector<double> y(static_cast<std::size_t>(m_tokens * m_hidden));
    for (index_t t = 0; t < m_tokens; ++t)
      for (index_t d = 0; d < m_hidden; ++d)
        for (index_t i = 0; i < n; ++i)
          y[t * m_hidden + d] += at(name, d, columns[i]) * x[t * n + i];
    return y;
  }

  std::vector<double> mlp(const Widths& widths) const {
    const Indices units = first(widths.width);
    auto hidden = project("up_proj", units);
    for (std::size_t i = 0; i < hidden.size(); ++i) {
      const double h = masked(widths.inner, static_cast<index_t>(i) % widths.width) * hidden[i];
      hidden[i] = h > 0 ? h * h : 0;
    }
    return back_to_stream("down_proj", units, hidden);
  }

  std::vector<double> attention(const Widths& widths) const {
    const index_t channels = m_layer.head_channels, inner = widths.width * channels;
    ReferenceAttention heads{{.batch = m_tokens / m_length,
                              .seq_length = m_length,
                              .num_heads = widths.width,
                              .num_groups = m_layer.num_groups,
                              .head_dim = channels},
                             project("q_proj", first(inner)),
                             project("k_proj", first(m_layer.num_groups * channels)),
                             project("v_proj", first(m_layer.num_groups * channels)),
                             m_segment};
    heads.forward();
    for (std::size_t i = 0; i < heads.out.size(); ++i)
      heads.out[i] *= masked(widths.inner, static_cast<index_t>(i) % inner / channels);
    return back_to_stream("o_proj", first(inner), heads.out);
  }

  std::vector<double> convolve(const std::string& name, const Indices& channels,
                               const std::vector<double>& mask) const {
    return reference_causal_conv1d(m_length, static_cast<index_t>(channels.size()),
                                   m_shape.mamba_d_conv, project("in_proj." + name, channels),
                                   rows_of("conv1d." + name + ".weight", channels),
                                   elements("conv1d." + name + ".bias", channels), mask, m_segment);
  }
  std::vector<double> mamba(const Widths& widths) const {
    const index_t groups = m_layer.num_groups;
    Indices channels;
    for (index_t h = 0; h < widths.width; ++h)
      for (index_t p = 0; p < widths.head_channels; ++p)
        channels.push_back(h * m_layer.head_channels + p);
    const Indices heads = first(widths.width), state = first(groups * m_shape.mamba_state_dim);
    const kernels::SsdShape shape{.batch = m_tokens / m_length,
                                  .seq_length = m_length,
                                  .num_heads = widths.width,
                                  .head_dim = widths.head_channels,
                                  .num_groups = groups,
                                  .state_dim = m_shape.mamba_state_dim,
                                  .chunk_size = m_shape.chunk_size};
    const auto scanned = reference_ssd(shape, {.x = convolve("x", channels, widths.inner),
                                               .ssm_B = convolve("B", state, {}),
                                               .ssm_C = convolve("C", state, {}),
                                               .dt_raw = project("in_proj.dt", heads),
                                               .A_log = elements("A_log", heads),
                                               .dt_bias = elements("dt_bias", heads),
                                               .ssm_D = elements("D", heads),
                                               .dt_mask = widths.heads,
                                               .segment = m_segment});
    return back_to_stream("out_proj", channels, gated_norm(widths, channels, scanned));
  }
  /// scale w g / sqrt(sum over the group of g^2 / mean_width + epsilon), g = s silu(m z).
  std::vector<double> gated_norm(const Widths& widths, const Indices& channels,
                                 const std::vector<double>& scanned) const {
    const auto z = project("in_proj.z", channels), weight = elements("norm.weight", channels);
    const auto n = static_cast<index_t>(channels.size());
    const auto group = [&](index_t e) { return e / widths.head_channels % m_layer.num_groups; };
    std::vector<double> out(scanned.size());
    for (index_t t = 0; t < m_tokens; ++t) {
      std::vector<double> squares(static_cast<std::size_t>(m_layer.num_groups));
      for (index_t e = 0; e < n; ++e) {
        out[t * n + e] = scanned[t * n + e] * silu(masked(widths.inner, e) * z[t * n + e]);
        squares[group(e)] += out[t * n + e] * out[t * n + e];
      }
      for (index_t e = 0; e < n; ++e)
        out[t * n + e] *=
            widths.norm.scale * weight[e] /
            std::sqrt(squares[group(e)] / widths.norm.mean_width + widths.norm.epsilon);
    }
    return out;
  }

  ModelShape m_shape;
  LayerShape m_layer;
  std::map<std::string, std::vector<double>> m_values;
  std::map<std::string, index_t> m_columns;
  std::vector<double> m_u;
  index_t m_hidden = 0, m_tokens = 0, m_length = 0;
  std::vector<token_t> m_segment;
};

}  // namespace elastic::test
