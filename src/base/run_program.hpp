// SPDX-License-Identifier: Apache-2.0
// Another program, run to its end: scripts that draw pictures, the evaluation harness.
#pragma once
#include <optional>
#include <string>
#include <vector>

namespace elastic {

/// Runs a program without a shell, with empty input, and waits. Returns its exit status, or nothing
/// if it cannot be started, was ended by a signal or ran beyond `limit_seconds`.
/// `output` takes the last line that it printed.
std::optional<int> run_program(const std::vector<std::string>& command, double limit_seconds,
                               std::string& output);
/// The python that $ELASTIC_PYTHON names; without it `otherwise`.
std::string chosen_python(const std::string& otherwise);

}  // namespace elastic
