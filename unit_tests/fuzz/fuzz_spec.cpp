// SPDX-License-Identifier: Apache-2.0
// The JSON of a submodel in a checkpoint, for a parent of three layers.
#include "arch/layer_kind.hpp"
#include "elastic/submodel_spec.hpp"
#include "fuzz_support.hpp"

namespace {
elastic::ModelShape parent() {
  elastic::ModelShape shape{.vocab_size = 64,
                            .hidden_size = 16,
                            .norm_epsilon = 1e-5,
                            .mamba_state_dim = 8,
                            .mamba_d_conv = 4,
                            .chunk_size = 8,
                            .layers = {}};
  shape.layers = {{elastic::kind_of_symbol('M'), 4, 8, 2},
                  {elastic::kind_of_symbol('-'), 32, 1, 1},
                  {elastic::kind_of_symbol('*'), 4, 4, 2}};
  return shape;
}
}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const elastic::ModelShape shape = parent();
  const std::string text(reinterpret_cast<const char*>(data), size);
  elastic::fuzz::accept_or_refuse([&] {
    const auto spec = elastic::spec_from_json(shape, text);
    elastic::check_shape(elastic::sliced_shape(shape, spec));  // can be cut
  });
  return 0;
}
