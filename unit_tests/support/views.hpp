// SPDX-License-Identifier: Apache-2.0
// Random Views, copies to the host and back, and comparisons that tell what differs.
// All work on device Views too.
//
//   auto x = random_matrix<T>(T, D, seed);
//   auto wide = strided_random_matrix<T>(T, D, D + 3, seed);
//   EXPECT_TRUE(near(y, expected, tolerance<T>(D)));
//   EXPECT_TRUE(bitwise_equal(y, again));
#pragma once
#include <gtest/gtest.h>

#include <cstring>
#include <utility>
#include <vector>

#include "base/random.hpp"
#include "unit_tests/support/tolerance.hpp"

namespace elastic::test {

/// The arguments as a list to loop over. cudafe++ loses lists in braces whose type depends on that
/// of a template.
template <class First, class... Rest>
std::vector<First> each_of(const First& first, const Rest&... rest) {
  return {first, rest...};
}

/// Overwrites `view` (possibly strided) with compact row-major values.
template <class T>
void assign(const View1<T>& view, const std::vector<T>& values) {
  HostView1<const T> host(values.data(), values.size());
  Kokkos::deep_copy(view, host);
}
template <class T>
void assign(const View2<T>& view, const std::vector<T>& values) {
  const View2<T> compact("elastic::test::compact", view.extent(0), view.extent(1));
  const Kokkos::View<const T**, Kokkos::LayoutRight, HostSpace> host(values.data(), view.extent(0),
                                                                     view.extent(1));
  Kokkos::deep_copy(compact, host);
  Kokkos::deep_copy(view, compact);
}

template <class T>
View1<T> to_device(const std::vector<T>& values) {
  View1<T> result("elastic::test::vector", values.size());
  assign(result, values);
  return result;
}
template <class T>
View2<T> to_device(const std::vector<T>& values, index_t rows, index_t columns) {
  View2<T> result("elastic::test::matrix", rows, columns);
  assign(result, values);
  return result;
}

/// Compact row-major copy of a View of any stride.
template <class T>
std::vector<std::remove_const_t<T>> to_host(const View1<T>& view) {
  std::vector<std::remove_const_t<T>> result(view.extent(0));
  Kokkos::deep_copy(HostView1<std::remove_const_t<T>>(result.data(), result.size()), view);
  return result;
}
template <class T>
std::vector<std::remove_const_t<T>> to_host(const View2<T>& view) {
  using Value = std::remove_const_t<T>;
  const View2<Value> compact("elastic::test::compact", view.extent(0), view.extent(1));
  Kokkos::deep_copy(compact, view);
  std::vector<Value> result(view.extent(0) * view.extent(1));
  Kokkos::deep_copy(Kokkos::View<Value**, Kokkos::LayoutRight, HostSpace>(
                        result.data(), view.extent(0), view.extent(1)),
                    compact);
  return result;
}
template <class T>
std::vector<T> to_host(const std::vector<T>& values) {
  return values;
}
/// Like to_host, in double.
template <class V>
std::vector<double> to_double(const V& view) {
  const auto values = to_host(view);
  std::vector<double> result;
  result.reserve(values.size());
  for (const auto& value : values) result.push_back(static_cast<double>(value));
  return result;
}
/// The given numbers, stored as T.
template <class T>
std::vector<T> stored(const std::vector<double>& numbers) {
  std::vector<T> values;
  for (const double number : numbers) values.push_back(static_cast<T>(number));
  return values;
}
/// Numbers of another type, stored as T: exact where T is the wider one.
template <class T, class U>
View1<T> stored_as(const View1<U>& view) {
  std::vector<T> values;
  for (const auto& value : to_host(view)) values.push_back(static_cast<T>(value));
  return to_device(values);
}
template <class T, class U>
View2<T> stored_as(const View2<U>& view) {
  std::vector<T> values;
  for (const auto& value : to_host(view)) values.push_back(static_cast<T>(value));
  return to_device(values, view.extent(0), view.extent(1));
}

/// Uniform numbers in (low, high), a function of seed and index only, rounded to T.
template <class T>
std::vector<T> random_values(index_t n, std::uint32_t seed, double low = -1, double high = 1) {
  std::vector<T> values(static_cast<std::size_t>(n));
  for (index_t i = 0; i < n; ++i)
    values[i] = static_cast<T>(low + (high - low) * random_uniform({seed, RandomPurpose::test}, i));
  return values;
}
template <class T>
View1<T> random_vector(index_t n, std::uint32_t seed, double low = -1, double high = 1) {
  return to_device(random_values<T>(n, seed, low, high));
}
template <class T>
View2<T> random_matrix(index_t rows, index_t columns, std::uint32_t seed, double low = -1,
                       double high = 1) {
  return to_device(random_values<T>(rows * columns, seed, low, high), rows, columns);
}
/// The first `columns` of a matrix with `leading_dimension` columns;
/// they hold the values of random_matrix of this seed. The columns outside are NaN, so that
/// a kernel that reads them is found out.
template <class T>
View2<T> strided_random_matrix(index_t rows, index_t columns, index_t leading_dimension,
                               std::uint32_t seed) {
  const View2<T> parent("elastic::test::parent", rows, leading_dimension);
  Kokkos::deep_copy(parent, static_cast<T>(std::numeric_limits<float>::quiet_NaN()));
  const auto result = prefix(parent, rows, columns);
  assign(result, random_values<T>(rows * columns, seed));
  return result;
}
/// Compact device copy.
template <class T>
auto clone(const View1<T>& view) {
  return to_device(to_host(view));
}
template <class T>
auto clone(const View2<T>& view) {
  return to_device(to_host(view), view.extent(0), view.extent(1));
}

/// Row length used to print indices: 0 for vectors.
template <class T>
index_t row_length(const View2<T>& view) {
  return static_cast<index_t>(view.extent(1));
}
template <class V>
index_t row_length(const V&) {
  return 0;
}

testing::AssertionResult near_values(const std::vector<double>& actual,
                                     const std::vector<double>& expected, index_t columns,
                                     double tolerance, double rounding = 0);
testing::AssertionResult same_bits(const void* a, const void* b,
                                   const std::vector<double>& a_values,
                                   const std::vector<double>& b_values, std::size_t element_bytes,
                                   index_t columns);

/// The type of the elements of a View or std::vector.
template <class V>
using ElementOf = typename decltype(to_host(std::declval<V>()))::value_type;

/// Succeeds if |actual - expected| <= tolerance * max(1, max |expected|) everywhere;
/// prints the three worst elements otherwise. Where elements are stored in fewer bits than their
/// sums have, each may be off by that one rounding, relative to itself.
template <class A, class B>
testing::AssertionResult near(const A& actual, const B& expected, double tolerance) {
  return near_values(to_double(actual), to_double(expected),
                     std::max(row_length(actual), row_length(expected)), tolerance,
                     storage_rounding<ElementOf<A>>() + storage_rounding<ElementOf<B>>());
}
/// Succeeds if all bits are equal; prints the first difference otherwise.
template <class A, class B>
testing::AssertionResult bitwise_equal(const A& a, const B& b) {
  const auto h_a = to_host(a);
  const auto h_b = to_host(b);
  static_assert(std::is_same_v<decltype(h_a), decltype(h_b)>);
  return same_bits(h_a.data(), h_b.data(), to_double(h_a), to_double(h_b), sizeof(h_a[0]),
                   row_length(a));
}

}  // namespace elastic::test
