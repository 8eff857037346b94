// SPDX-License-Identifier: Apache-2.0
// Answers of the machine's own commands, e.g. those of its batch system.
#pragma once
#include <optional>
#include <string>

namespace elastic {

/// What a command has printed, its errors left out. Nothing if it cannot be started, ends with
/// another exit code than 0, or takes longer than `seconds`; it is then killed with all it started.
std::optional<std::string> ask_command(const std::string& command, int seconds = 15);

}  // namespace elastic
