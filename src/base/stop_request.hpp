// SPDX-License-Identifier: Apache-2.0
// What this process was asked for while it works: to stop, or to save and go on. Signals and files
// ask (run/stop_signal.hpp); loops of all kinds answer. No rank answers alone where others
// take part: comm/all_ranks_agree.hpp and run/stop_signal.hpp let all of them answer together.
#pragma once
#include <exception>
#include <filesystem>

namespace elastic {

/// Thrown, on all ranks that work together, by a loop that was asked to stop. Not an error.
struct Stopped : std::exception {
  const char* what() const noexcept override { return "stopped as asked"; }
};

namespace stop_request {

/// Safe in a signal handler.
void ask_to_stop() noexcept;
void ask_to_save() noexcept;

/// Files named `stop` and `save` in `folder` ask as well. They are looked for at most once a
/// second, by whoever asks the functions below, and removed when found. An empty path ends it.
void watch_folder(const std::filesystem::path& folder);

/// True from the first time on that this process was asked to stop.
bool stop_asked();
/// True once for one or several times that this process was asked to save.
bool take_save();
/// Throws Stopped if this process was asked to stop: for loops of one rank.
void go_on_alone();
/// Forgets everything that was asked.
void forget();

}  // namespace stop_request
}  // namespace elastic
