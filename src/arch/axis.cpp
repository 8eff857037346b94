// SPDX-License-Identifier: Apache-2.0
#include "arch/axis.hpp"

#include <cstddef>

namespace elastic {

const char* axis_name(Axis axis) {
  constexpr std::array<const char*, all_axes.size()> names = {
      "hidden", "mamba_heads", "mamba_head_channels", "attention_heads", "ffn", "depth"};
  return names[static_cast<std::size_t>(axis)];
}

}  // namespace elastic
