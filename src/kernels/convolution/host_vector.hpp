// SPDX-License-Identifier: Apache-2.0
// A whole vector register of a processor: neighbouring sums, computed side by side. For the loops
// in which a compiler chooses vectors of half the width, or keeps in memory what fits into
// registers. An element has the bits of the same arithmetic on single numbers.
//
// Vectors are a language extension of GCC and Clang; for hosts only.
#pragma once
#if !defined(__CUDACC__) && !defined(__HIPCC__) && !defined(SYCL_LANGUAGE_VERSION)
#define ELASTIC_HOST_VECTORS
#include <cstring>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "kernels/rows/vector_exp.hpp"

namespace elastic::kernels {

#if defined(__AVX512F__)
inline constexpr int vector_bytes = 64;
#elif defined(__AVX__)
inline constexpr int vector_bytes = 32;
#else
inline constexpr int vector_bytes = 16;
#endif

template <class A>
struct HostVector {
  typedef A type __attribute__((vector_size(vector_bytes)));
};
template <class A>
using Vector = typename HostVector<A>::type;
/// Elements of a Vector<A>.
template <class A>
inline constexpr int vector_length = vector_bytes / static_cast<int>(sizeof(A));

using FloatBits = Vector<std::uint32_t>;
typedef std::uint16_t HalfBits __attribute__((vector_size(vector_bytes / 2)));

// For these conversions g++ 12 takes several instructions where AVX-512 has one (with all lanes
// selected: for the plain ones it warns of an unused lane that nobody set).
#if defined(__AVX512F__)
KOKKOS_FORCEINLINE_FUNCTION FloatBits widened(const HalfBits& half) {
  return (FloatBits)_mm512_maskz_cvtepu16_epi32(0xffff, (__m256i)half);
}
KOKKOS_FORCEINLINE_FUNCTION HalfBits narrowed(const FloatBits& bits) {
  return (HalfBits)_mm512_maskz_cvtepi32_epi16(0xffff, (__m512i)bits);
}
#else
KOKKOS_FORCEINLINE_FUNCTION FloatBits widened(const HalfBits& half) {
  return __builtin_convertvector(half, FloatBits);
}
KOKKOS_FORCEINLINE_FUNCTION HalfBits narrowed(const FloatBits& bits) {
  return __builtin_convertvector(bits, HalfBits);
}
#endif

template <class A>
KOKKOS_FORCEINLINE_FUNCTION Vector<A> vector_of(A x) {
  return Vector<A>{} + x;
}
/// The sums of vector_length values at `from`.
template <class T>
KOKKOS_FORCEINLINE_FUNCTION Vector<Accumulate<T>> load_vector(const T* from) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    HalfBits half;
    std::memcpy(&half, from, sizeof half);
    return (Vector<float>)(widened(half) << 16);
  } else {
    Vector<T> values;
    std::memcpy(&values, from, sizeof values);
    return values;
  }
}
/// Stores a result of arithmetic: a NaN among them is a quiet one, and needs no more than that its
/// upper half is kept. Rounds as store_rounded.
template <class T>
KOKKOS_FORCEINLINE_FUNCTION void store_vector(T* to, const Vector<Accumulate<T>>& sum) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    const FloatBits bits = (FloatBits)sum,
                    nearest = sum == sum ? bits + ((bits >> 16 & 1u) + 0x7fffu) : bits;
    const HalfBits half = narrowed(nearest >> 16);
    std::memcpy(static_cast<void*>(to), &half, sizeof half);
  } else {
    std::memcpy(to, &sum, sizeof sum);
  }
}

/// exp(x) as vector_exp, but for a NaN, of which it makes a number.
KOKKOS_FORCEINLINE_FUNCTION Vector<float> exp_of_number(const Vector<float>& given) {
  typedef std::int32_t Integers __attribute__((vector_size(vector_bytes)));
  const FloatBits bits = (FloatBits)given, lowest = FloatBits{} + 0xc2ae999au,
                  above = bits < lowest ? bits : lowest;
  const Integers highest = Integers{} + 0x42b0999a, signed_bits = (Integers)above,
                 inside = signed_bits < highest ? signed_bits : highest;
  const Vector<float> x = (Vector<float>)inside;
  const Vector<float> shifted = x * 1.44269504088896341f + 12582912.0f, n = shifted - 12582912.0f;
  const Vector<float> r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vector<float> p = r * (1.0f / 5040) + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  return p * (Vector<float>)(((FloatBits)shifted << 23) + 0x3f800000u);
}
KOKKOS_FORCEINLINE_FUNCTION Vector<double> exp_of_number(const Vector<double>& x) {
  Vector<double> result = {};
  for (int i = 0; i < vector_length<double>; ++i) result[i] = vector_exp(static_cast<double>(x[i]));
  return result;
}
/// 1 / (1 + exp(-x)); of a NaN some number.
template <class V>
KOKKOS_FORCEINLINE_FUNCTION V sigmoid_of_number(const V& x) {
  return 1 / (1 + exp_of_number(-x));
}

}  // namespace elastic::kernels
#endif
