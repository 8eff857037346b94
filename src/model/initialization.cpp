// SPDX-License-Identifier: Apache-2.0
#include "model/initialization.hpp"

#include <xxhash.h>

#include <cmath>

#include "base/random.hpp"

namespace elastic {
namespace {

/// Where in a whole tensor the elements to be filled lie: those of this rank from `first` on.
struct Place {
  GlobalPosition position;
  index_t first = 0;
  KOKKOS_INLINE_FUNCTION std::uint64_t operator()(index_t i) const {
    return static_cast<std::uint64_t>(position(first + i));
  }
};

/// Fills matrices, which are nearly all there is, with N(0, (std * scale)^2) on the device.
template <class T>
void fill_normal(const RandomKey& key, double std, double scale, const Place& place,
                 const View1<T>& values) {
  Kokkos::parallel_for(
      "elastic::initialize",
      Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<index_t>>(
          0, static_cast<index_t>(values.extent(0))),
      KOKKOS_LAMBDA(const index_t i) {
        values(i) = static_cast<T>(std * random_normal(key, place(i)) * scale);
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
void fill_small(InitialLaw law, const RandomKey& key, double conv_bound, const Place& place,
                const View1<T>& values) {
  const auto h_values = Kokkos::create_mirror_view(values);
  for (std::size_t i = 0; i < values.extent(0); ++i) {
    const auto number = place(static_cast<index_t>(i));
    h_values(i) = static_cast<T>(small_value(law, key, number, conv_bound));
  }
  Kokkos::deep_copy(values, h_values);
}

/// Elements of one tensor of a model of this shape, in the type of `values`.
template <class U>
void fill(const ModelShape& shape, const ParameterInfo& info, const Place& place, double std,
          std::uint32_t seed, const View1<U>& values) {
  const double residual_scale = 1 / std::sqrt(2.0 * static_cast<double>(shape.num_layers()));
  const double conv_bound = 1 / std::sqrt(static_cast<double>(shape.mamba_d_conv));
  const RandomKey key{seed, RandomPurpose::initialization,
                      XXH3_64bits(info.name.data(), info.name.size())};
  if (info.initial == InitialLaw::normal || info.initial == InitialLaw::residual)
    fill_normal<U>(key, std, info.initial == InitialLaw::residual ? residual_scale : 1, place,
                   values);
  else
    fill_small<U>(info.initial, key, conv_bound, place, values);
}

}  // namespace

template <class T>
void initialize(LanguageModel<T>& model, double std, std::uint32_t seed) {
  for (const auto& p : model.parameters())
    with_values(p, [&](const auto& values) {
      using U = typename std::decay_t<decltype(values)>::value_type;
      fill(model.shape(), p.info, {model.parameters().global_position(p)}, std, seed,
           View1<U>(values.data(), p.size()));
    });
}

template <class T>
std::vector<Accumulate<T>> unrounded_initial_values(const LanguageModel<T>& model,
                                                    const Parameter<T>& parameter, Range elements,
                                                    double std, std::uint32_t seed) {
  const View1<Accumulate<T>> values("elastic::unrounded_initial_values",
                                    elements.second - elements.first);
  fill(model.shape(), parameter.info,
       {model.parameters().global_position(parameter), elements.first}, std, seed, values);
  std::vector<Accumulate<T>> result(values.extent(0));
  Kokkos::deep_copy(HostView1<Accumulate<T>>(result.data(), result.size()), values);
  return result;
}

#define ELASTIC_INSTANTIATE(T)                                           \
  template void initialize<T>(LanguageModel<T>&, double, std::uint32_t); \
  template std::vector<Accumulate<T>> unrounded_initial_values<T>(       \
      const LanguageModel<T>&, const Parameter<T>&, Range, double, std::uint32_t);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
