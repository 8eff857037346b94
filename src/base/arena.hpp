// SPDX-License-Identifier: Apache-2.0
// Memory of a training step: one growing stack of blocks from which Views are handed out and taken
// back in order, so that no step after the first allocates.
//
//   Arena arena;
//   {
//     Arena::Scope scope(arena);           // what is taken inside is given back at its end
//     auto y = arena.matrix<float>(T, D);  // [T, D], contents undefined
//   }
#pragma once
#include <vector>

#include "base/types.hpp"

namespace elastic {

class Arena {
 public:
  /// Position in the stack.
  struct Mark {
    std::size_t block = 0, used = 0;
  };
  /// Gives back on destruction all that was taken since construction.
  class Scope {
   public:
    explicit Scope(Arena& arena) : m_arena(arena), m_mark(arena.mark()) {}
    ~Scope() { m_arena.release(m_mark); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& m_arena;
    Mark m_mark;
  };

  template <class T>
  View1<T> vector(index_t n) {
    return View1<T>(reinterpret_cast<T*>(take(sizeof(T) * static_cast<std::size_t>(n))), n);
  }
  template <class T>
  View2<T> matrix(index_t rows, index_t columns) {
    const auto bytes =
        sizeof(T) * static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns);
    return View2<T>(reinterpret_cast<T*>(take(bytes)), rows, columns);
  }

  Mark mark() const { return m_mark; }
  void release(Mark mark) { m_mark = mark; }
  /// Gives the memory itself back; nothing may be taken at the moment. What follows allocates anew.
  void clear() {
    m_blocks.clear();
    m_mark = {};
  }
  /// Bytes allocated so far.
  std::size_t capacity() const;

 private:
  unsigned char* take(std::size_t bytes);

  std::vector<Kokkos::View<unsigned char*, MemorySpace>> m_blocks;
  Mark m_mark;
};

}  // namespace elastic
