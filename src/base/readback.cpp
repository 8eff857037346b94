// SPDX-License-Identifier: Apache-2.0
#include "base/readback.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace elastic {

Readback::Block Readback::make_block(index_t size) {
  Block block;
  block.there =
      View1<double>(Kokkos::view_alloc("elastic::readback", Kokkos::WithoutInitializing), size);
  if constexpr (std::is_same_v<MemorySpace, HostSpace>)
    block.here = HostView1<double>(block.there.data(), size);
  else
    block.here = HostView1<double>(
        Kokkos::view_alloc("elastic::readback_host", Kokkos::WithoutInitializing), size);
  return block;
}

View1<double> Readback::take(index_t n) {
  constexpr index_t smallest = 64;
  const auto room = [](const Block& block) {
    return static_cast<index_t>(block.there.extent(0)) - block.used;
  };
  if (m_blocks.empty() || room(m_blocks.back()) < n)
    m_blocks.push_back(make_block(std::max(n, smallest)));
  Block& block = m_blocks.back();
  block.used += n;
  return Kokkos::subview(block.there, Range(block.used - n, block.used));
}

void Readback::read(const ExecutionSpace& exec) {
  if constexpr (!std::is_same_v<MemorySpace, HostSpace>)
    for (const Block& block : m_blocks)
      Kokkos::deep_copy(exec, prefix(block.here, block.used), prefix(block.there, block.used));
  fence(exec, "elastic::readback");
}

const double* Readback::numbers(const View1<double>& taken) const {
  for (const Block& block : m_blocks) {
    const auto begin = taken.data() - block.there.data();
    if (0 <= begin && begin + static_cast<index_t>(taken.extent(0)) <= block.used)
      return block.here.data() + begin;
  }
  throw_contract("numbers that were not taken, or given back");
}

void Readback::clear() {
  index_t size = 0;
  for (const Block& block : m_blocks) size += static_cast<index_t>(block.there.extent(0));
  if (m_blocks.size() > 1) m_blocks.assign(1, make_block(size));
  if (!m_blocks.empty()) m_blocks.front().used = 0;
}

}  // namespace elastic
