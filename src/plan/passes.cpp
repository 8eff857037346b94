// SPDX-License-Identifier: Apache-2.0
#include "plan/passes.hpp"

#include <algorithm>

namespace elastic {
namespace {

/// Extents of a layer as real numbers.
struct Extents {
  double hidden, inner, width, side;  // D; E, AC or F; H, A or F; 2GN or 2RC
};
Extents extents_of(const ModelShape& shape, const LayerShape& layer) {
  const auto groups = static_cast<double>(layer.num_groups);
  const double side =
      layer.kind == LayerKind::mamba       ? 2 * groups * static_cast<double>(shape.mamba_state_dim)
      : layer.kind == LayerKind::attention ? 2 * groups * static_cast<double>(layer.head_channels)
                                           : 0;
  return {static_cast<double>(shape.hidden_size), static_cast<double>(layer.inner()),
          static_cast<double>(layer.width), side};
}

double products_of(const LayerShape& layer, const Extents& e) {
  if (layer.kind == LayerKind::mlp) return 4 * e.hidden * e.inner;
  if (layer.kind == LayerKind::attention) return 2 * e.hidden * (2 * e.inner + e.side);
  return 2 * e.hidden * (3 * e.inner + e.side + e.width);
}

/// Work of the mixer alone.
Work mixer_forward(const ModelShape& shape, const LayerShape& layer, const PassOptions& options) {
  const Extents e = extents_of(shape, layer);
  Work work{.products = products_of(layer, e)};
  if (layer.kind == LayerKind::mlp) {
    work.bytes = value_bytes * 2 * e.inner;
  } else if (layer.kind == LayerKind::attention) {
    work.attention = 2 * e.inner * static_cast<double>(options.seq_length + 1);
    if (options.soft_masks) work.bytes = value_bytes * 2 * e.inner;
  } else {
    const auto reach = static_cast<double>(std::min(shape.chunk_size, options.seq_length) + 1);
    work.scan =
        4 * e.inner * static_cast<double>(shape.mamba_state_dim) + reach * (e.side / 2 + e.inner);
    work.bytes = value_bytes * (2 * (e.inner + e.side) + 3 * e.inner);
  }
  return work;
}

Work mixer_backward(const ModelShape& shape, const LayerShape& layer, const PassOptions& options) {
  const Extents e = extents_of(shape, layer);
  Work work{.products = 2 * products_of(layer, e)};
  if (layer.kind == LayerKind::mlp) {
    work.bytes = value_bytes * 3 * e.inner;
  } else if (layer.kind == LayerKind::attention) {
    work.attention = 5 * e.inner * static_cast<double>(options.seq_length + 1);
    if (options.soft_masks) work.bytes = value_bytes * 3 * e.inner;
  } else {
    const auto reach = static_cast<double>(std::min(shape.chunk_size, options.seq_length) + 1);
    work.scan = 8 * e.inner * static_cast<double>(shape.mamba_state_dim) +
                reach * (3 * e.side / 2 + 2 * e.inner);
    work.bytes = value_bytes * (3 * (e.inner + e.side) + 5 * e.inner);
  }
  return work;
}

double hidden_bytes(const ModelShape& shape) {
  return value_bytes * static_cast<double>(shape.hidden_size);
}

}  // namespace

Work& Work::operator+=(const Work& other) {
  products += other.products;
  attention += other.attention;
  scan += other.scan;
  bytes += other.bytes;
  return *this;
}

Work stack_work(const ModelShape& local, const PassOptions& options) {
  Work work;
  for (const auto& layer : local.layers) {
    work += mixer_forward(local, layer, options);
    work.bytes += (options.keeps_input ? 7 : 5) * options.stream_share * hidden_bytes(local);
  }
  return work;
}

Work forward_work(const ModelShape& local, const PassOptions& options) {
  Work work = stack_work(local, options);
  work.bytes += (2 + 2 * options.stream_share) * hidden_bytes(local);
  return work;
}

Work backward_work(const ModelShape& local, const PassOptions& options) {
  Work work{.bytes = (3 + 5 * options.stream_share) * hidden_bytes(local)};
  for (const auto& layer : local.layers) {
    work += mixer_backward(local, layer, options);
    work.bytes += (options.soft_masks ? 10 : 6) * options.stream_share * hidden_bytes(local);
  }
  return work;
}

Work logits_work(const ModelShape& local) {
  return {.products =
              2 * static_cast<double>(local.vocab_size) * static_cast<double>(local.hidden_size)};
}

Work loss_work(const ModelShape& local, const ModelShape* teacher) {
  Work work = 3 * logits_work(local);
  work.bytes = value_bytes * (teacher ? 3 : 2) * static_cast<double>(local.vocab_size);
  if (teacher) work += logits_work(*teacher);
  return work;
}

}  // namespace elastic
