// SPDX-License-Identifier: Apache-2.0
// Whether numbers on the host are finite: what a file gets is.
#pragma once
#include <optional>

#include "state/state_tensors.hpp"

namespace elastic {

struct NotFinite {
  index_t index;  ///< of the element
  double value;   ///< an infinity or NaN
};

/// The first of the numbers that is not finite. Integers always are. `data` is aligned to them.
std::optional<NotFinite> first_not_finite(StorageType type, const char* data, std::size_t bytes);

/// Throws NumericsError naming `what` (a file, and where a run was), tensor and element unless all
/// rows from `first_row` on are finite.
void require_finite(const std::string& what, const StateTensor& tensor, index_t first_row,
                    const char* rows, std::size_t bytes);

}  // namespace elastic
