// SPDX-License-Identifier: Apache-2.0
#include "config/indexed_data.hpp"

#include <cmath>
#include <filesystem>

namespace elastic {

bool uses_mask(const DataConfig& data, const std::string& prefix) {
  if (data.source != SourceKind::indexed || data.loss_mask == LossMask::ignored) return false;
  std::error_code unknown;
  return data.loss_mask == LossMask::required || std::filesystem::exists(prefix + ".mask", unknown);
}

index_t validation_every(const DataConfig& data) {
  return static_cast<index_t>(std::lround(1 / data.validation_fraction));
}

}  // namespace elastic
