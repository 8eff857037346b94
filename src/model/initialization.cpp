// SPDX-License-Identifier: Apache-2.0
#include "model/initialization.hpp"

#include <xxhash.h>

#include <cmath>

#include "base/random.hpp"

namespace elastic {
namespace {

bool ends_with(const std::string& name, const char* end) { return name.ends_with(end); }

/// Value of element i of a tensor, in double.
double initial_value(const ParameterInfo& info, const RandomKey& key, std::uint64_t i, double std,
                     double residual_scale, double conv_bound) {
  const std::string& name = info.name;
  if (ends_with(name, "norm.weight") || ends_with(name, ".D")) return 1;
  if (ends_with(name, "A_log")) return std::log(1 + 15 * random_uniform(key, i));
  if (ends_with(name, "dt_bias")) {
    const double dt =
        std::exp(std::log(1e-3) + random_uniform(key, i) * (std::log(0.1) - std::log(1e-3)));
    return dt + std::log(-std::expm1(-dt));  // softplus of this is dt
  }
  if (name.find("conv1d") != std::string::npos)
    return conv_bound * (2 * random_uniform(key, i) - 1);
  const bool writes_residual =
      ends_with(name, "out_proj") || ends_with(name, "o_proj") || ends_with(name, "down_proj");
  return std * random_normal(key, i) * (writes_residual ? residual_scale : 1);
}

}  // namespace

template <class S>
void initialize(LanguageModel<S>& model, double std, std::uint32_t seed) {
  const double residual_scale =
      1 / std::sqrt(2.0 * static_cast<double>(model.shape().num_layers()));
  const double conv_bound = 1 / std::sqrt(static_cast<double>(model.shape().mamba_d_conv));
  const auto h_values = Kokkos::create_mirror_view(model.parameters().values());
  for (const auto& parameter : model.parameters()) {
    const auto& info = parameter.info;
    const RandomKey key{seed, RandomPurpose::initialization,
                        XXH3_64bits(info.name.data(), info.name.size())};
    for (index_t i = 0; i < info.rows * info.columns; ++i)
      h_values(parameter.offset + i) = static_cast<S>(
          initial_value(info, key, static_cast<std::uint64_t>(i), std, residual_scale, conv_bound));
  }
  Kokkos::deep_copy(model.parameters().values(), h_values);
}

template void initialize<float>(LanguageModel<float>&, double, std::uint32_t);
template void initialize<double>(LanguageModel<double>&, double, std::uint32_t);

}  // namespace elastic
