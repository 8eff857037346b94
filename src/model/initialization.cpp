// SPDX-License-Identifier: Apache-2.0
#include "model/initialization.hpp"

#include <xxhash.h>

#include <cmath>

#include "base/random.hpp"

namespace elastic {
namespace {

/// Fills matrices, which are nearly all there is, with N(0, (std * scale)^2) on the device.
template <class T>
void fill_normal(const RandomKey& key, double std, double scale, const GlobalPosition& position,
                 const View1<T>& values) {
  Kokkos::parallel_for(
      "elastic::initialize",
      Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<index_t>>(
          0, static_cast<index_t>(values.extent(0))),
      KOKKOS_LAMBDA(const index_t i) {
        const auto number = static_cast<std::uint64_t>(position(i));
        values(i) = static_cast<T>(std * random_normal(key, number) * scale);
      });
}

/// Element i of a tensor that is filled on the host.
double small_value(InitialLaw law, const RandomKey& key, std::uint64_t i, double conv_bound) {
  if (law == InitialLaw::decay_rate) return std::log(1 + 15 * random_uniform(key, i));
  if (law == InitialLaw::time_step) {
    const double dt =
        std::exp(std::log(1e-3) + random_uniform(key, i) * (std::log(0.1) - std::log(1e-3)));
    return dt + std::log(-std::expm1(-dt));  // softplus of this is dt
  }
  if (law == InitialLaw::convolution) return conv_bound * (2 * random_uniform(key, i) - 1);
  return 1;
}

template <class T>
void fill_small(InitialLaw law, const RandomKey& key, double conv_bound,
                const GlobalPosition& position, const View1<T>& values) {
  const auto h_values = Kokkos::create_mirror_view(values);
  for (std::size_t i = 0; i < values.extent(0); ++i) {
    const auto number = static_cast<std::uint64_t>(position(static_cast<index_t>(i)));
    h_values(i) = static_cast<T>(small_value(law, key, number, conv_bound));
  }
  Kokkos::deep_copy(values, h_values);
}

}  // namespace

template <class T>
void initialize(LanguageModel<T>& model, double std, std::uint32_t seed) {
  const double residual_scale =
      1 / std::sqrt(2.0 * static_cast<double>(model.shape().num_layers()));
  const double conv_bound = 1 / std::sqrt(static_cast<double>(model.shape().mamba_d_conv));
  for (const auto& parameter : model.parameters()) {
    const std::string& name = parameter.info.name;
    const RandomKey key{seed, RandomPurpose::initialization, XXH3_64bits(name.data(), name.size())};
    const GlobalPosition position = model.parameters().global_position(parameter);
    const InitialLaw law = parameter.info.initial;
    if (law == InitialLaw::normal || law == InitialLaw::residual)
      fill_normal<T>(key, std, law == InitialLaw::residual ? residual_scale : 1, position,
                     parameter.value_vector());
    else
      fill_small<T>(law, key, conv_bound, position, parameter.value_vector());
  }
}

template void initialize<float>(LanguageModel<float>&, double, std::uint32_t);
template void initialize<double>(LanguageModel<double>&, double, std::uint32_t);

}  // namespace elastic
