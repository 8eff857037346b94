// SPDX-License-Identifier: Apache-2.0
// Products of small bfloat16 matrices inside a kernel of a processor, in the units that some
// processors have for them (AMX: 16 x 32 by 32 x 16 per instruction), and by plain loops elsewhere.
//
//   c[i, j] (+)= sum_k a[i, k] b[k, j]
//
// Operands: a is row-major, [m, lda]; b holds pairs, [k / 2, ldb, 2]: rows 2r and 2r + 1 of b lie
// interleaved in row r, so that two neighbours in k make one word. m and n are multiples of 16, k
// of 32: pad with zeros, which change no bit of other elements.
//
// Every element is rounded alike wherever it stands and whichever body computes it: for each 32
// elements of k, one fp32 sum of the products of even k and one of odd k, in rising order; their
// sum is added to c. Products of two bfloat16 are exact in fp32. Subnormal numbers count as zero,
// in operands and in sums (Intel SDM, TDPBF16PS); the plain body keeps them.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

inline constexpr index_t matrix_tile = 16;   ///< rows and columns of c that a tile holds
inline constexpr index_t matrix_depth = 32;  ///< elements of k that one instruction takes

KOKKOS_INLINE_FUNCTION constexpr index_t padded_depth(index_t k) {
  return (k + matrix_depth - 1) / matrix_depth * matrix_depth;
}

/// Whether this processor has such units and the kernel of its system lets us use them.
bool has_matrix_units();

/// Prepares the thread's units while it lives: one at a time, around many products; nothing else
/// that uses them (a library's product) may run meanwhile.
class MatrixTiles {
 public:
  /// `units`: false takes the plain loops anyhow.
  explicit MatrixTiles(bool units = has_matrix_units());
  ~MatrixTiles();
  MatrixTiles(const MatrixTiles&) = delete;
  MatrixTiles& operator=(const MatrixTiles&) = delete;

  struct Extents {
    index_t m, n, k;
  };
  /// c = a b
  void multiply(Extents extents, const bfloat16* a, index_t lda, const bfloat16* b, index_t ldb,
                float* c, index_t ldc) const;
  /// c += a b
  void multiply_add(Extents extents, const bfloat16* a, index_t lda, const bfloat16* b, index_t ldb,
                    float* c, index_t ldc) const;

 private:
  bool m_units;
};

/// target[r, j, :] = source[2r, j], source[2r + 1, j]: the operand b from a row-major [k, n].
/// target: [padded_depth(k) / 2, ld, 2], ld >= n a multiple of 16; zero in the padding.
void pack_pairs(bfloat16* target, index_t ld, const bfloat16* source, index_t ld_source, index_t k,
                index_t n);
/// The operand b from a row-major [n, k]: b[k, j] = source[j, k]. Target as above.
void pack_pairs_transposed(bfloat16* target, index_t ld, const bfloat16* source, index_t ld_source,
                           index_t k, index_t n);
/// target[i, k] = source[k, i]: the operand a from a row-major [k, m].
/// target: [ceil(m / 16) * 16, ld], ld >= padded_depth(k) a multiple of 32; zero in the padding.
void pack_rows_transposed(bfloat16* target, index_t ld, const bfloat16* source, index_t ld_source,
                          index_t m, index_t k);

}  // namespace elastic::kernels
