// SPDX-License-Identifier: Apache-2.0
// Small dense products inside a team: register tiles over operands packed into team scratch.
//
//   c[i, j] (+)= sum_k a[k, i] b[k, j]
//
// Both operands are "k-major": k counts rows, and rows are padded to `lanes` columns with zeros.
// A tile's accumulators live in registers (on an AVX-512 core eight rows of one vector, close
// to the peak), its columns are vectorised, and tiles are shared out over the threads of the team.
// Every element is one sum over rising k, whatever the extents are.
#pragma once
#include <cstdint>
#include <type_traits>

#include "kernels/backend.hpp"
#include "kernels/rows/store_rounded.hpp"

namespace elastic::kernels {

inline constexpr index_t lanes = 16;                   ///< columns of a tile, unit of padding
inline constexpr index_t tile_rows = on_host ? 8 : 4;  ///< divides lanes

KOKKOS_INLINE_FUNCTION constexpr index_t padded(index_t n) {
  return (n + lanes - 1) / lanes * lanes;
}

/// Hands out aligned pieces of a team's scratch memory; from a null base it only counts the bytes.
class ScratchCarver {
 public:
  KOKKOS_INLINE_FUNCTION explicit ScratchCarver(void* base)
      : m_base(reinterpret_cast<std::uintptr_t>(base)) {}
  template <class T>
  KOKKOS_INLINE_FUNCTION T* take(index_t count) {
    const std::uintptr_t piece = m_base + static_cast<std::uintptr_t>(m_bytes);
    m_bytes += (count * static_cast<index_t>(sizeof(T)) + 63) / 64 * 64;
    return reinterpret_cast<T*>(piece);
  }
  KOKKOS_INLINE_FUNCTION index_t bytes() const { return m_bytes; }

 private:
  std::uintptr_t m_base;
  index_t m_bytes = 0;
};

// Inlined into a large kernel, the loop of a tile would share its registers
// with everything around it.
#if defined(__CUDACC__) || defined(__HIPCC__) || defined(SYCL_LANGUAGE_VERSION)
#define ELASTIC_OWN_REGISTERS
#else
#define ELASTIC_OWN_REGISTERS [[gnu::noinline]]
#endif

/// A register tile of tile_rows x lanes sums.
/// T: the type of the sums; matrices that a tile is written to may be narrower.
template <class T>
struct Tile {
  T value[tile_rows][lanes];

  /// value[i, j] = sum_{k in [begin, end)} a[k, i] b[k, j]
  KOKKOS_INLINE_FUNCTION void multiply(const T* a, index_t lda, const T* b, index_t ldb,
                                       index_t begin, index_t end) {
    product<false>(a + begin * lda, lda, b + begin * ldb, ldb, end - begin);
  }
  /// value[i, j] += sum_{k in [begin, end)} a[k, i] b[k, j]
  KOKKOS_INLINE_FUNCTION void multiply_add(const T* a, index_t lda, const T* b, index_t ldb,
                                           index_t begin, index_t end) {
    product<true>(a + begin * lda, lda, b + begin * ldb, ldb, end - begin);
  }
  KOKKOS_INLINE_FUNCTION void scale_rows(const T* factor) {
    for (index_t i = 0; i < tile_rows; ++i) {
      ELASTIC_SIMD
      for (index_t j = 0; j < lanes; ++j) value[i][j] *= factor[i];
    }
  }
  /// Writes the part that lies inside `rows` x `columns`, the extents from this tile's
  /// corner c to the end of the matrix.
  template <class U>
  KOKKOS_INLINE_FUNCTION void store(U* c, index_t ldc, index_t rows, index_t columns) const {
    write<false>(c, ldc, rows, columns);
  }
  template <class U>
  KOKKOS_INLINE_FUNCTION void add_to(U* c, index_t ldc, index_t rows, index_t columns) const {
    write<true>(c, ldc, rows, columns);
  }

 private:
  template <bool add>
  ELASTIC_OWN_REGISTERS KOKKOS_INLINE_FUNCTION void product(const T* a, index_t lda, const T* b,
                                                            index_t ldb, index_t count) {
    T sum[tile_rows][lanes];
    for (index_t i = 0; i < tile_rows; ++i) {
      ELASTIC_SIMD
      for (index_t j = 0; j < lanes; ++j) sum[i][j] = add ? value[i][j] : T(0);
    }
    for (index_t k = 0; k < count; ++k, a += lda, b += ldb) {
      for (index_t i = 0; i < tile_rows; ++i) {
        ELASTIC_SIMD
        for (index_t j = 0; j < lanes; ++j) sum[i][j] += a[i] * b[j];
      }
    }
    for (index_t i = 0; i < tile_rows; ++i) {
      ELASTIC_SIMD
      for (index_t j = 0; j < lanes; ++j) value[i][j] = sum[i][j];
    }
  }
  template <bool add, class U>
  KOKKOS_INLINE_FUNCTION void write(U* c, index_t ldc, index_t rows, index_t columns) const {
    if (rows >= tile_rows && columns >= lanes) {
      for (index_t i = 0; i < tile_rows; ++i) {
        ELASTIC_SIMD
        for (index_t j = 0; j < lanes; ++j)
          store_rounded(c[i * ldc + j], add ? widen(c[i * ldc + j]) + value[i][j] : value[i][j]);
      }
    } else {
      for (index_t i = 0; i < math::min(rows, tile_rows); ++i)
        for (index_t j = 0; j < math::min(columns, lanes); ++j)
          store_rounded(c[i * ldc + j], add ? widen(c[i * ldc + j]) + value[i][j] : value[i][j]);
    }
  }
};

/// Calls f(i, j) for the upper left corner of every tile of a rows x columns
/// matrix; then a barrier.
template <class F>
KOKKOS_INLINE_FUNCTION void for_each_tile(const Team& team, index_t rows, index_t columns,
                                          const F& f) {
  const index_t down = (rows + tile_rows - 1) / tile_rows, across = (columns + lanes - 1) / lanes;
  Kokkos::parallel_for(Kokkos::TeamThreadRange(team, down * across), [&](const index_t tile) {
    f(tile / across * tile_rows, tile % across * lanes);
  });
  team.team_barrier();
}
/// Calls f(i, j) for every row i and every `lanes` columns, j the first of them; then a barrier.
template <class F>
KOKKOS_INLINE_FUNCTION void for_each_block(const Team& team, index_t rows, index_t columns,
                                           const F& f) {
  const index_t across = (columns + lanes - 1) / lanes;
  Kokkos::parallel_for(Kokkos::TeamThreadRange(team, rows * across),
                       [&](const index_t block) { f(block / across, block % across * lanes); });
  team.team_barrier();
}
/// Calls f(i) for i < count; then a barrier.
template <class F>
KOKKOS_INLINE_FUNCTION void for_each_row(const Team& team, index_t count, const F& f) {
  Kokkos::parallel_for(Kokkos::TeamThreadRange(team, count), f);
  team.team_barrier();
}

/// target [rows, padded(columns)] = source [rows, columns], zero in the padding.
template <class T, class U>
KOKKOS_INLINE_FUNCTION void pack(const Team& team, T* target, const U* source, index_t ld_source,
                                 index_t rows, index_t columns) {
  const index_t ld = padded(columns);
  for_each_block(team, rows, columns, [&](const index_t i, const index_t j0) {
    const U* from = source + i * ld_source + j0;
    T* to = target + i * ld + j0;
    if (j0 + lanes <= columns) {
      ELASTIC_SIMD
      for (index_t j = 0; j < lanes; ++j) to[j] = static_cast<T>(from[j]);
    } else {
      for (index_t j = 0; j < lanes; ++j) to[j] = j0 + j < columns ? static_cast<T>(from[j]) : T(0);
    }
  });
}
/// The transpose of a lanes x lanes block. Interleaving the halves of the array moves the highest
/// bit of every index to the lowest place; four of those exchange row and column.
/// Unlike strided copies this vectorises.
template <class T>
KOKKOS_INLINE_FUNCTION void transpose_block(T* block, T* other) {
  static_assert(lanes == 16);
  constexpr index_t half = lanes * lanes / 2;
  for (int step = 0; step < 2; ++step) {
    ELASTIC_SIMD
    for (index_t j = 0; j < half; ++j) {
      other[2 * j] = block[j];
      other[2 * j + 1] = block[half + j];
    }
    ELASTIC_SIMD
    for (index_t j = 0; j < half; ++j) {
      block[2 * j] = other[j];
      block[2 * j + 1] = other[half + j];
    }
  }
}
/// target[j, i] = source[i, j].
/// target [columns, ld], ld a multiple of lanes >= rows; zero in the padding.
template <class T, class U>
ELASTIC_OWN_REGISTERS KOKKOS_INLINE_FUNCTION void pack_transposed(const Team& team, T* target,
                                                                  index_t ld, const U* source,
                                                                  index_t ld_source, index_t rows,
                                                                  index_t columns) {
  if constexpr (on_host) {
    const index_t across = ld / lanes, down = (columns + lanes - 1) / lanes;
    for_each_row(team, across * down, [&](const index_t item) {
      const index_t i0 = item % across * lanes, j0 = item / across * lanes,
                    count = math::min(lanes, columns - j0);
      T block[lanes * lanes], other[lanes * lanes];
      for (index_t i = 0; i < lanes; ++i) {
        const U* from = source + (i0 + i) * ld_source + j0;
        if (i0 + i < rows && count == lanes) {
          ELASTIC_SIMD
          for (index_t j = 0; j < lanes; ++j) block[i * lanes + j] = static_cast<T>(from[j]);
        } else {
          for (index_t j = 0; j < lanes; ++j)
            block[i * lanes + j] = i0 + i < rows && j < count ? static_cast<T>(from[j]) : T(0);
        }
      }
      transpose_block(block, other);
      for (index_t j = 0; j < count; ++j) {
        ELASTIC_SIMD
        for (index_t i = 0; i < lanes; ++i) target[(j0 + j) * ld + i0 + i] = block[j * lanes + i];
      }
    });
  } else {
    for_each_block(team, columns, ld, [&](const index_t j, const index_t i0) {
      for (index_t i = i0; i < i0 + lanes; ++i)
        target[j * ld + i] = i < rows ? static_cast<T>(source[i * ld_source + j]) : T(0);
    });
  }
}

}  // namespace elastic::kernels
