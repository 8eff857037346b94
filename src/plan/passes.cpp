// SPDX-License-Identifier: Apache-2.0
#include "plan/passes.hpp"

#include "arch/layer_kind.hpp"

namespace elastic {
namespace {

/// Work of the mixer alone, as the plan counts it.
Work work_of(const LayerWork& mixer) {
  return {.products = mixer.products,
          .attention = mixer.attention,
          .scan = mixer.scan,
          .elements = mixer.elements};
}
Work mixer_forward(const ModelShape& shape, const LayerShape& layer, const PassOptions& options) {
  const auto& kind = description_of(layer);
  return work_of(kind.forward_work(shape, kind.extents(shape, layer),
                                   {options.seq_length, options.soft_masks}));
}
Work mixer_backward(const ModelShape& shape, const LayerShape& layer, const PassOptions& options) {
  const auto& kind = description_of(layer);
  return work_of(kind.backward_work(shape, kind.extents(shape, layer),
                                    {options.seq_length, options.soft_masks}));
}

double hidden(const ModelShape& shape) { return static_cast<double>(shape.hidden_size); }

}  // namespace

Work& Work::operator+=(const Work& other) {
  products += other.products;
  attention += other.attention;
  scan += other.scan;
  elements += other.elements;
  return *this;
}

Work stack_work(const ModelShape& local, const PassOptions& options) {
  Work work;
  for (const auto& layer : local.layers) {
    work += mixer_forward(local, layer, options);
    work.elements += (options.keeps_input ? 7 : 5) * options.stream_share * hidden(local);
  }
  return work;
}

Work forward_work(const ModelShape& local, const PassOptions& options) {
  Work work = stack_work(local, options);
  work.elements += (2 + 2 * options.stream_share) * hidden(local);
  return work;
}

Work backward_work(const ModelShape& local, const PassOptions& options) {
  Work work{.elements = (3 + 5 * options.stream_share) * hidden(local)};
  for (const auto& layer : local.layers) {
    work += mixer_backward(local, layer, options);
    work.elements += (options.soft_masks ? 10 : 6) * options.stream_share * hidden(local);
  }
  return work;
}

Work logits_work(const ModelShape& local) {
  return {.products =
              2 * static_cast<double>(local.vocab_size) * static_cast<double>(local.hidden_size)};
}

Work loss_work(const ModelShape& local, bool distills) {
  Work work = 3 * logits_work(local);
  work.elements = (distills ? 3 : 2) * static_cast<double>(local.vocab_size);
  return work;
}

}  // namespace elastic
