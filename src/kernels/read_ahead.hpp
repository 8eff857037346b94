// SPDX-License-Identifier: Apache-2.0
// Loops of a processor over long arrays ask for what they will read. By itself a core asks for
// lines up to the end of a page, which is too late to keep the memory busy: a sum over an array
// that lies in no cache takes half the time with requests of two pages ahead.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// Asks for the `bytes` that lie two pages after x. They need not exist.
template <class T>
inline void read_ahead(const T* x, index_t bytes) {
#if defined(__GNUC__)
  constexpr std::uintptr_t distance = 8192, line = 64;
  const auto begin = reinterpret_cast<std::uintptr_t>(x) + distance;
  for (index_t b = 0; b < bytes; b += line)
    __builtin_prefetch(reinterpret_cast<const void*>(begin + static_cast<std::uintptr_t>(b)));
#endif
}

}  // namespace elastic::kernels
