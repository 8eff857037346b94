// SPDX-License-Identifier: Apache-2.0
#include "base/ask_command.hpp"

#include <fmt/format.h>

#include <array>
#include <cstdio>

namespace elastic {

std::optional<std::string> ask_command(const std::string& command, int seconds) {
  const std::string limited = fmt::format("timeout -k 1 {} {} 2>/dev/null", seconds, command);
  std::FILE* pipe = popen(limited.c_str(), "r");
  if (pipe == nullptr) return std::nullopt;
  std::string text;
  std::array<char, 4096> part = {};
  while (std::fgets(part.data(), part.size(), pipe) != nullptr) text += part.data();
  if (pclose(pipe) != 0) return std::nullopt;
  return text;
}

}  // namespace elastic
