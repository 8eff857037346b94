// SPDX-License-Identifier: Apache-2.0
// Vectors of 512 bits for single functions. For some processors that have AVX-512, Intel's newest
// among them, g++ prefers vectors of half the width: loops that fill the registers or move blocks
// between lanes then take up to twice the time. The bits of an element are the same.
//
//   ELASTIC_WHOLE_VECTORS void scale(float* x, index_t n) { ... }
#pragma once

#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__) && !defined(__CUDACC__)
#define ELASTIC_WHOLE_VECTORS [[gnu::noinline, gnu::target("prefer-vector-width=512")]]
#else
#define ELASTIC_WHOLE_VECTORS
#endif
