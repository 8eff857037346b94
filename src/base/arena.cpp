// SPDX-License-Identifier: Apache-2.0
#include "base/arena.hpp"

#include <algorithm>

#include "base/huge_pages.hpp"

namespace elastic {
namespace {
constexpr std::size_t alignment = 256;  // a cache line on the host, a memory transaction on devices
constexpr std::size_t block_bytes = std::size_t{64} << 20;
}  // namespace

unsigned char* Arena::take(std::size_t bytes) {
  const std::size_t padded = std::max(alignment, (bytes + alignment - 1) / alignment * alignment);
  while (m_mark.block < m_blocks.size() && m_mark.used + padded > m_blocks[m_mark.block].size()) {
    ++m_mark.block;  // the rest of this block stays unused until the scope ends
    m_mark.used = 0;
  }
  if (m_mark.block == m_blocks.size()) {
    const auto& block =
        m_blocks.emplace_back(Kokkos::view_alloc("elastic::arena", Kokkos::WithoutInitializing),
                              std::max(block_bytes, padded));
    // Not the first, of which a small model touches little: pages of 2 MiB would be its memory.
    if constexpr (std::is_same_v<MemorySpace, HostSpace>)
      if (m_blocks.size() > 1) prefer_huge_pages(block.data(), block.size());
  }
  unsigned char* result = m_blocks[m_mark.block].data() + m_mark.used;
  m_mark.used += padded;
  return result;
}

std::size_t Arena::capacity() const {
  std::size_t total = 0;
  for (const auto& block : m_blocks) total += block.size();
  return total;
}

}  // namespace elastic
