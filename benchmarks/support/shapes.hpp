// SPDX-License-Identifier: Apache-2.0
// Extents that the benchmarks use: one micro-batch of a small model (a million parameters), of a
// medium one, and of the 12B parent, which is shorter on a processor than the 8,192 tokens that a
// device gets.
#pragma once
#include <array>

#include "kernels/attention/attention.hpp"
#include "kernels/scan/ssd_shape.hpp"

namespace elastic::bench {

struct Extents {
  const char* name;
  index_t batch, seq_length, hidden, ffn;
  kernels::SsdShape scan;
  kernels::AttentionShape attention;
};

inline constexpr index_t nano12b_tokens = std::is_same_v<MemorySpace, HostSpace> ? 512 : 8192;

inline const std::array<Extents, 3>& all_extents() {
  static const std::array<Extents, 3> extents = {{
      {"small", 8, 128, 128, 384, {8, 128, 8, 32, 2, 32, 32}, {8, 128, 4, 2, 32}},
      {"medium", 2, 1024, 768, 3072, {2, 1024, 24, 64, 4, 64, 64}, {2, 1024, 12, 4, 64}},
      {"nano12b",
       1,
       nano12b_tokens,
       5120,
       20480,
       {1, nano12b_tokens, 128, 80, 8, 128, 128},
       {1, nano12b_tokens, 40, 8, 128}},
  }};
  return extents;
}

}  // namespace elastic::bench
