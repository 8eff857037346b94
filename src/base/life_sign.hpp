// SPDX-License-Identifier: Apache-2.0
// What a rank shows of itself while it works: that it lives, gets on, and where it is.
// The watchdog (comm/watchdog.hpp) looks at the signs of all ranks of a node. They are
// plain atomic numbers, which processes can share.
//
//   note_progress();     // after a piece of work: any thread, a few nanoseconds
//   note_step(step);
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <string>

namespace elastic {

struct LifeSign {
  std::atomic<std::uint64_t> beats = 0;     ///< of the watchdog's thread
  std::atomic<std::uint64_t> progress = 0;  ///< regions, collectives, kernels, blocks of files
  std::atomic<std::int64_t> step = 0;
  std::atomic<int> collectives = 0;  ///< entered and not yet left
  std::atomic<int> left = 0;         ///< 1: is watched no more, at its end or after an error
  std::atomic<int> given_up = 0;     ///< 1: the others end without this rank; it must not go on
  std::atomic<int> process = 0, rank = 0;
  /// The path of the innermost open region: at most 95 bytes, then zeros.
  std::array<std::atomic<std::uint64_t>, 12> region = {};
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free &&
                  std::atomic<int>::is_always_lock_free,
              "processes share them");

/// The sign of this rank: one of its own, until a watchdog gives it a place that others see.
LifeSign& life_sign();
/// From now on the sign is `place`, which takes over step and region; null: one of its own again.
void show_life_sign_in(LifeSign* place);

void note_progress();
void note_step(std::int64_t step);
/// Enters or leaves a region: progress, and the path where this rank is now.
void note_region(const std::string& path);
/// What `sign` says of its region: a path, or "no region".
std::string region_of(const LifeSign& sign);

}  // namespace elastic
