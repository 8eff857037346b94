// SPDX-License-Identifier: Apache-2.0
// Memory that a thread keeps for products and that grows to what the largest of them needed: what
// libraries and packed operands work in. Internal to kernels/products.
#pragma once
#include <cstdlib>
#include <memory>

#include "base/error.hpp"
#include "base/types.hpp"

namespace elastic::kernels {

class ThreadScratch {
 public:
  /// At least so many bytes from the beginning of a page on; what they held is lost.
  /// Throws RunError if there is no memory.
  void* bytes(std::size_t count) {
    if (count > m_count) {
      const std::size_t whole = (count + page - 1) / page * page;
      m_count = 0;
      m_memory.reset();
      m_memory.reset(std::aligned_alloc(page, whole));
      if (!m_memory)
        throw RunError(fmt::format("matrix product: no memory for {} bytes of scratch", count));
      m_count = whole;
    }
    return m_memory.get();
  }
  template <class T>
  T* elements(index_t count) {
    return static_cast<T*>(bytes(static_cast<std::size_t>(count) * sizeof(T)));
  }

 private:
  static constexpr std::size_t page = 4096;
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> m_memory;
  std::size_t m_count = 0;
};

}  // namespace elastic::kernels
