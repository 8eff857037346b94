// SPDX-License-Identifier: Apache-2.0
#include "unit_tests/support/source_folder.hpp"

#include <cstdlib>

namespace elastic::test {

std::filesystem::path source_folder() {
  const char* const moved = std::getenv("ELASTIC_SOURCE_FOLDER");
  return moved != nullptr ? moved : ELASTIC_SOURCE;
}

}  // namespace elastic::test
