// SPDX-License-Identifier: Apache-2.0
// Where the tree lies: where it was compiled, or in the folder of the environment variable
// ELASTIC_SOURCE_FOLDER (programs that are run on another machine). One file is compiled with it,
// so that the compiler's cache serves all others in any copy of the tree.
#pragma once
#include <filesystem>

namespace elastic::test {

std::filesystem::path source_folder();
inline std::filesystem::path fixtures_folder() {
  return source_folder() / "unit_tests" / "fixtures";
}

}  // namespace elastic::test
