// SPDX-License-Identifier: Apache-2.0
#include "unit_tests/support/source_folder.hpp"

namespace elastic::test {

std::filesystem::path source_folder() { return ELASTIC_SOURCE; }

}  // namespace elastic::test
