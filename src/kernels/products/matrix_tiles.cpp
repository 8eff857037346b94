// SPDX-License-Identifier: Apache-2.0
// Two by two tiles of c, or four by one, stay in the units while k runs; a strip of one tile is
// left at the edges.
#include "kernels/products/matrix_tiles.hpp"

#include <bit>
#include <cstring>

#include "kernels/products/block_product.hpp"

#if defined(__x86_64__) && defined(__linux__) && !defined(__CUDACC__) && !defined(__HIPCC__)
#define ELASTIC_HAVE_AMX
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace elastic::kernels {
namespace {

using Extents = MatrixTiles::Extents;

#ifdef ELASTIC_HAVE_AMX
#define ELASTIC_AMX [[gnu::target("amx-tile,amx-bf16")]]

/// CPUID leaf 7 names the units; Linux hands out their registers on request.
bool ask_for_units() {
  constexpr unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  if ((edx & amx_bf16) == 0 || (edx & amx_tile) == 0) return false;
  constexpr long arch_req_xcomp_perm = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, arch_req_xcomp_perm, tile_data) == 0;
}

/// All eight tiles: 16 rows of 64 bytes.
struct alignas(64) TileConfiguration {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t bytes_of_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfiguration) == 64);

/// In static memory: the intrinsic tells the compiler of eight of its bytes only.
alignas(64) const TileConfiguration configuration;
ELASTIC_AMX void configure_units() { _tile_loadconfig(&configuration); }
ELASTIC_AMX void release_units() { _tile_release(); }

/// Strides in bytes: of a row of a, of a row of pairs of b, of a row of c.
struct Strides {
  std::size_t a, b, c;
};

/// Four tiles of c, in units 0 to 3 while a product runs.
struct FourTiles {
  float* at[4];
  std::size_t stride;  // bytes of a row

  template <bool add>
  ELASTIC_AMX void begin() const {
    if (add) {
      _tile_loadd(0, at[0], stride);
      _tile_loadd(1, at[1], stride);
      _tile_loadd(2, at[2], stride);
      _tile_loadd(3, at[3], stride);
    } else {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    }
  }
  ELASTIC_AMX void store() const {
    _tile_stored(0, at[0], stride);
    _tile_stored(1, at[1], stride);
    _tile_stored(2, at[2], stride);
    _tile_stored(3, at[3], stride);
  }
};

/// 32 x 32 elements of c; b1 and c1 are the tiles to the right, a1 those below.
template <bool add>
ELASTIC_AMX void multiply_2x2(index_t k, const bfloat16* a, const bfloat16* b, float* c,
                              const Strides& stride) {
  const auto rows = [&](auto* p, std::size_t bytes) {
    using Byte =
        std::conditional_t<std::is_const_v<std::remove_pointer_t<decltype(p)>>, const char, char>;
    return reinterpret_cast<decltype(p)>(reinterpret_cast<Byte*>(p) + matrix_tile * bytes);
  };
  float* const below = rows(c, stride.c);
  const FourTiles sums{{c, c + matrix_tile, below, below + matrix_tile}, stride.c};
  sums.begin<add>();
  for (index_t done = 0; done < k; done += matrix_depth) {
    _tile_loadd(4, a, stride.a);
    _tile_loadd(6, b, stride.b);
    _tile_loadd(7, b + 2 * matrix_tile, stride.b);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, rows(a, stride.a), stride.a);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    a += matrix_depth;
    b = rows(b, stride.b);
  }
  sums.store();
}
template <bool add>
ELASTIC_AMX void multiply_1x1(index_t k, const bfloat16* a, const bfloat16* b, float* c,
                              const Strides& stride) {
  if (add)
    _tile_loadd(0, c, stride.c);
  else
    _tile_zero(0);
  for (index_t done = 0; done < k; done += matrix_depth) {
    _tile_loadd(4, a, stride.a);
    _tile_loadd(6, b, stride.b);
    _tile_dpbf16ps(0, 4, 6);
    a += matrix_depth;
    b = reinterpret_cast<const bfloat16*>(reinterpret_cast<const char*>(b) +
                                          matrix_tile * stride.b);
  }
  _tile_stored(0, c, stride.c);
}
/// 64 x 16 elements of c: where b has few columns, four tiles of a keep the units busy.
template <bool add>
ELASTIC_AMX void multiply_4x1(index_t k, const bfloat16* a, const bfloat16* b, float* c,
                              const Strides& stride) {
  const std::size_t tile_of_a = matrix_tile * stride.a,
                    tile_of_c = matrix_tile * stride.c / sizeof(float);
  const auto *from = reinterpret_cast<const char*>(a), *pairs = reinterpret_cast<const char*>(b);
  const FourTiles sums{{c, c + tile_of_c, c + 2 * tile_of_c, c + 3 * tile_of_c}, stride.c};
  sums.begin<add>();
  for (index_t done = 0; done < k; done += matrix_depth) {
    _tile_loadd(6, pairs, stride.b);
    _tile_loadd(4, from, stride.a);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, from + tile_of_a, stride.a);
    _tile_dpbf16ps(1, 5, 6);
    _tile_loadd(4, from + 2 * tile_of_a, stride.a);
    _tile_dpbf16ps(2, 4, 6);
    _tile_loadd(5, from + 3 * tile_of_a, stride.a);
    _tile_dpbf16ps(3, 5, 6);
    from += matrix_depth * sizeof(bfloat16);
    pairs += matrix_tile * stride.b;
  }
  sums.store();
}
template <bool add>
void multiply_by_units(const Extents& extents, const bfloat16* a, index_t lda, const bfloat16* b,
                       index_t ldb, float* c, index_t ldc) {
  const Strides stride{static_cast<std::size_t>(lda) * sizeof(bfloat16),
                       static_cast<std::size_t>(ldb) * 2 * sizeof(bfloat16),
                       static_cast<std::size_t>(ldc) * sizeof(float)};
  constexpr index_t t = matrix_tile;
  index_t i = 0;
  for (; extents.n == t && i + 4 * t <= extents.m; i += 4 * t)
    multiply_4x1<add>(extents.k, a + i * lda, b, c + i * ldc, stride);
  for (; i + 2 * t <= extents.m; i += 2 * t) {
    index_t j = 0;
    for (; j + 2 * t <= extents.n; j += 2 * t)
      multiply_2x2<add>(extents.k, a + i * lda, b + 2 * j, c + i * ldc + j, stride);
    for (index_t row = i; j < extents.n && row < i + 2 * t; row += t)
      multiply_1x1<add>(extents.k, a + row * lda, b + 2 * j, c + row * ldc + j, stride);
  }
  for (index_t j = 0; i < extents.m && j < extents.n; j += t)
    multiply_1x1<add>(extents.k, a + i * lda, b + 2 * j, c + i * ldc + j, stride);
}
#endif

/// The plain body: sums of even and of odd k of one row, lanes along the columns.
template <bool add>
void multiply_plainly(const Extents& extents, const bfloat16* a, index_t lda, const bfloat16* b,
                      index_t ldb, float* c, index_t ldc) {
  constexpr index_t t = matrix_tile;
  for (index_t i = 0; i < extents.m; ++i)
    for (index_t j = 0; j < extents.n; j += t) {
      float sum[t];
      for (index_t l = 0; l < t; ++l) sum[l] = add ? c[i * ldc + j + l] : 0.0f;
      for (index_t k = 0; k < extents.k; k += matrix_depth) {
        float even[t] = {}, odd[t] = {};
        for (index_t r = k / 2; r < (k + matrix_depth) / 2; ++r) {
          const float x = widen(a[i * lda + 2 * r]), y = widen(a[i * lda + 2 * r + 1]);
          const bfloat16* pair = b + (r * ldb + j) * 2;
          ELASTIC_SIMD
          for (index_t l = 0; l < t; ++l) {
            even[l] += x * widen(pair[2 * l]);
            odd[l] += y * widen(pair[2 * l + 1]);
          }
        }
        for (index_t l = 0; l < t; ++l) sum[l] += even[l] + odd[l];
      }
      for (index_t l = 0; l < t; ++l) c[i * ldc + j + l] = sum[l];
    }
}

template <bool add>
void multiply_either(bool units, const Extents& extents, const bfloat16* a, index_t lda,
                     const bfloat16* b, index_t ldb, float* c, index_t ldc) {
#ifdef ELASTIC_HAVE_AMX
  if (units) {
    asm volatile("" ::: "memory");  // loads of tiles do not say what they read
    return multiply_by_units<add>(extents, a, lda, b, ldb, c, ldc);
  }
#endif
  (void)units;
  multiply_plainly<add>(extents, a, lda, b, ldb, c, ldc);
}

static_assert(std::endian::native ==
              std::endian::little);  // the first of a pair in a word's low half

/// block[i, :] = words of row i of a row-major source, zero outside `rows` x `k` elements.
void load_words(std::uint32_t* block, const bfloat16* source, index_t ld, index_t rows, index_t k) {
  for (index_t i = 0; i < lanes; ++i) {
    std::uint32_t* to = block + i * lanes;
    const index_t count = i < rows ? math::min(k, 2 * lanes) : 0;
    if (count == 2 * lanes) {
      std::memcpy(to, source + i * ld, 2 * lanes * sizeof(bfloat16));
      continue;
    }
    std::memset(to, 0, lanes * sizeof(std::uint32_t));
    if (count > 0)
      std::memcpy(to, source + i * ld, static_cast<std::size_t>(count) * sizeof(bfloat16));
  }
}
/// words[j] = low[j], high[j] of two rows; `count` of them exist, the rest are zero.
void interleave(std::uint32_t* words, const bfloat16* low, const bfloat16* high, index_t count) {
  const auto bits = [](const bfloat16* row, index_t j) -> std::uint32_t {
    return *reinterpret_cast<const std::uint16_t*>(row + j);
  };
  if (count >= lanes && high != nullptr) {
    ELASTIC_SIMD
    for (index_t j = 0; j < lanes; ++j) words[j] = bits(low, j) | bits(high, j) << 16;
    return;
  }
  for (index_t j = 0; j < lanes; ++j)
    words[j] = j >= count || low == nullptr
                   ? 0u
                   : bits(low, j) | (high == nullptr ? 0u : bits(high, j) << 16);
}
void store_words(bfloat16* target, const std::uint32_t* words) {
  std::memcpy(static_cast<void*>(target), words, lanes * sizeof(std::uint32_t));
}

}  // namespace

bool has_matrix_units() {
#ifdef ELASTIC_HAVE_AMX
  static const bool granted = ask_for_units();
  return granted;
#else
  return false;
#endif
}

MatrixTiles::MatrixTiles(bool units) : m_units(units && has_matrix_units()) {
#ifdef ELASTIC_HAVE_AMX
  if (m_units) configure_units();
#endif
}
MatrixTiles::~MatrixTiles() {
#ifdef ELASTIC_HAVE_AMX
  if (m_units) release_units();
#endif
}

void MatrixTiles::multiply(Extents extents, const bfloat16* a, index_t lda, const bfloat16* b,
                           index_t ldb, float* c, index_t ldc) const {
  multiply_either<false>(m_units, extents, a, lda, b, ldb, c, ldc);
}
void MatrixTiles::multiply_add(Extents extents, const bfloat16* a, index_t lda, const bfloat16* b,
                               index_t ldb, float* c, index_t ldc) const {
  multiply_either<true>(m_units, extents, a, lda, b, ldb, c, ldc);
}

void pack_pairs(bfloat16* target, index_t ld, const bfloat16* source, index_t ld_source, index_t k,
                index_t n) {
  for (index_t r = 0; r < padded_depth(k) / 2; ++r) {
    const bfloat16 *low = 2 * r < k ? source + 2 * r * ld_source : nullptr,
                   *high = 2 * r + 1 < k ? source + (2 * r + 1) * ld_source : nullptr;
    for (index_t j = 0; j < ld; j += lanes) {
      std::uint32_t words[lanes];
      const bool any = low != nullptr && j < n;
      interleave(words, any ? low + j : nullptr, any && high != nullptr ? high + j : nullptr,
                 n - j);
      store_words(target + (r * ld + j) * 2, words);
    }
  }
}

void pack_pairs_transposed(bfloat16* target, index_t ld, const bfloat16* source, index_t ld_source,
                           index_t k, index_t n) {
  std::uint32_t block[lanes * lanes], other[lanes * lanes];
  for (index_t k0 = 0; k0 < padded_depth(k); k0 += 2 * lanes)
    for (index_t j = 0; j < ld; j += lanes) {
      load_words(block, source + j * ld_source + k0, ld_source, n - j, k - k0);
      transpose_block(block, other);
      for (index_t r = 0; r < lanes; ++r)
        store_words(target + ((k0 / 2 + r) * ld + j) * 2, block + r * lanes);
    }
}

void pack_rows_transposed(bfloat16* target, index_t ld, const bfloat16* source, index_t ld_source,
                          index_t m, index_t k) {
  std::uint32_t block[lanes * lanes], other[lanes * lanes];
  for (index_t i = 0; i < padded(m); i += lanes)
    for (index_t k0 = 0; k0 < ld; k0 += 2 * lanes) {
      for (index_t r = 0; r < lanes; ++r) {
        const index_t row = k0 + 2 * r;
        const bfloat16* low = source + row * ld_source + i;
        interleave(block + r * lanes, row < k ? low : nullptr,
                   row + 1 < k ? low + ld_source : nullptr, m - i);
      }
      transpose_block(block, other);
      for (index_t r = 0; r < lanes; ++r)
        store_words(target + (i + r) * ld + k0, block + r * lanes);
    }
}

}  // namespace elastic::kernels
