// SPDX-License-Identifier: Apache-2.0
// Large pages for large arrays of a host. An array that is read from end to end, as the weights by
// every token that is generated, is read up to one and a half times as fast: its addresses are
// looked up once per 2 MiB instead of per 4 KiB, and the processor fetches ahead over whole pages.
#pragma once
#include <cstddef>
#include <string>

#include "base/types.hpp"

namespace elastic {

inline constexpr std::size_t huge_page = std::size_t{2} << 20;  ///< bytes

/// Asks Linux to back these bytes by large pages when they are first touched. Does nothing on other
/// systems, and for arrays below four large pages.
void prefer_huge_pages(void* data, std::size_t bytes);

/// Zeros. In large pages where the array is large and on a host.
template <class T>
View1<T> zeros_in_huge_pages(const std::string& label, index_t count) {
  const View1<T> array(Kokkos::view_alloc(label, Kokkos::WithoutInitializing), count);
  if constexpr (std::is_same_v<MemorySpace, HostSpace>)
    prefer_huge_pages(array.data(), static_cast<std::size_t>(count) * sizeof(T));
  Kokkos::deep_copy(array, T(0));
  return array;
}

}  // namespace elastic
