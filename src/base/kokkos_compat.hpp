// SPDX-License-Identifier: Apache-2.0
// The only place that knows differences between Kokkos 3.4 and 5.x,
// and between host and device compilers.
#pragma once
#include <Kokkos_Core.hpp>
#include <cstdint>
#include <utility>

#if defined(__CUDA_ARCH__) || defined(__HIP_DEVICE_COMPILE__) || defined(__SYCL_DEVICE_ONLY__)
#define ELASTIC_SIMD
#define ELASTIC_SIMD_SUM(variable)
#define ELASTIC_SIMD_MAX(variable)
#else
#define ELASTIC_PRAGMA(text) _Pragma(#text)
// The next loop may be vectorised: its iterations touch different elements.
#define ELASTIC_SIMD ELASTIC_PRAGMA(omp simd)
// The next loop sums into `variable`; the order of the sum depends only on the number of terms.
#define ELASTIC_SIMD_SUM(variable) ELASTIC_PRAGMA(omp simd reduction(+ : variable))
// The next loop takes the maximum into `variable`.
#define ELASTIC_SIMD_MAX(variable) ELASTIC_PRAGMA(omp simd reduction(max : variable))
#endif

namespace elastic::math {
#if KOKKOS_VERSION >= 30700
using Kokkos::abs;
using Kokkos::cos;
using Kokkos::exp;
using Kokkos::isfinite;
using Kokkos::log;
using Kokkos::log1p;
using Kokkos::pow;
using Kokkos::sqrt;
#else
using Kokkos::Experimental::cos;
using Kokkos::Experimental::exp;
using Kokkos::Experimental::log;
using Kokkos::Experimental::log1p;
using Kokkos::Experimental::pow;
using Kokkos::Experimental::sqrt;
template <class T>
KOKKOS_INLINE_FUNCTION T abs(T x) {
  return x < T(0) ? -x : x;
}
template <class T>
KOKKOS_INLINE_FUNCTION bool isfinite(T x) {
  return x - x == T(0);
}
#endif
/// Bits of one type as another; a compiler's own function, which devices have as well.
template <class To, class From>
KOKKOS_INLINE_FUNCTION To bit_cast(const From& from) {
  return __builtin_bit_cast(To, from);
}
template <class T>
KOKKOS_INLINE_FUNCTION T max(T a, T b) {
  return a < b ? b : a;
}
template <class T>
KOKKOS_INLINE_FUNCTION T min(T a, T b) {
  return b < a ? b : a;
}
}  // namespace elastic::math

namespace elastic {
/// What create_mirror_view gives; the name that Views have for it has changed.
template <class View>
using HostMirror = decltype(Kokkos::create_mirror_view(std::declval<const View&>()));

/// Waits for one execution space instance. Kokkos 3.4 takes no label and tells no tool of it.
template <class Exec>
void fence(const Exec& exec, const char* label) {
#if KOKKOS_VERSION >= 30500
  exec.fence(label);
#else
  std::uint64_t handle = 0;
  Kokkos::Tools::beginFence(label, 0, &handle);
  exec.fence();
  Kokkos::Tools::endFence(handle);
#endif
}
}  // namespace elastic
