// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"

#include <filesystem>

namespace elastic {

void throw_contract(const std::string& message, SourceLocation where) {
  throw ContractError(fmt::format("{} ({}:{})", message,
                                  std::filesystem::path(where.file_name()).filename().string(),
                                  where.line()));
}

}  // namespace elastic
