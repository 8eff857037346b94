// SPDX-License-Identifier: Apache-2.0
#include "base/stop_request.hpp"

#include <atomic>
#include <csignal>

#include "base/region.hpp"

namespace elastic::stop_request {
namespace {
volatile std::sig_atomic_t g_stop = 0, g_save = 0;
std::filesystem::path g_folder;
double g_next_look = 0;  // seconds of wall_seconds()

/// True if the file was there; it is gone then.
bool take_file(const char* name) {
  std::error_code failed;
  return std::filesystem::remove(g_folder / name, failed) && !failed;
}

void look_for_files() {
  constexpr double seconds_between = 1;
  if (g_folder.empty() || wall_seconds() < g_next_look) return;
  g_next_look = wall_seconds() + seconds_between;
  if (take_file("stop")) ask_to_stop();
  if (take_file("save")) ask_to_save();
}
}  // namespace

void ask_to_stop() noexcept { g_stop = 1; }
void ask_to_save() noexcept { g_save = 1; }

void watch_folder(const std::filesystem::path& folder) {
  g_folder = folder;
  g_next_look = 0;
}

bool stop_asked() {
  look_for_files();
  return g_stop != 0;
}
bool take_save() {
  look_for_files();
  const bool asked = g_save != 0;
  g_save = 0;
  return asked;
}
void go_on_alone() {
  if (stop_asked()) throw Stopped();
}
void forget() {
  g_stop = 0;
  g_save = 0;
}

}  // namespace elastic::stop_request
