// SPDX-License-Identifier: Apache-2.0
#include "base/huge_pages.hpp"

#ifdef __linux__
#include <sys/mman.h>

#include <cstdint>
#endif

namespace elastic {

void prefer_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) {
#ifdef __linux__
  if (bytes < 4 * huge_page) return;
  // Only pages that lie inside as a whole: neighbours belong to others.
  const auto begin = reinterpret_cast<std::uintptr_t>(data),
             first = (begin + huge_page - 1) / huge_page * huge_page,
             last = (begin + bytes) / huge_page * huge_page;
  ::madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

}  // namespace elastic
