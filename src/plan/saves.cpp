// SPDX-License-Identifier: Apache-2.0
#include "plan/saves.hpp"

#include <algorithm>

#include "parallel/block_exchange.hpp"
#include "plan/units.hpp"

namespace elastic {

Machine unknown_file_system() {
  Machine machine;
  machine.file_bandwidth = 2e8;
  return machine;
}

SavePlan plan_save(double bytes, int ranks, const Machine& machine) {
  SavePlan plan{.bytes = bytes, .bytes_of_rank = bytes / ranks};
  plan.copy_seconds = plan.bytes_of_rank / machine.copy_bandwidth;
  plan.write_seconds = 2 * std::max(plan.bytes_of_rank / machine.file_bandwidth,
                                    bytes / machine.total_file_bandwidth);
  return plan;
}

std::string describe(const SavePlan& plan, int ranks, const Machine& machine, bool asynchronous) {
  const auto rate = [](double bytes_per_second) { return with_prefix(bytes_per_second, "B/s"); };
  const std::string who = ranks == 1 ? "one rank" : fmt::format("each of {} ranks", ranks);
  const std::string waits =
      asynchronous ? fmt::format("steps wait {:.3g} s for its copy, writing takes {:.3g} s more",
                                 plan.copy_seconds, plan.write_seconds)
                   : fmt::format("steps wait {:.3g} s, {:.3g} s of it for the copy",
                                 plan.delay(false), plan.copy_seconds);
  return fmt::format("{} writes {}; {} (copy {}, file {} a rank, {} together, read back once{})",
                     who, in_bytes(plan.bytes_of_rank), waits, rate(machine.copy_bandwidth),
                     rate(machine.file_bandwidth), rate(machine.total_file_bandwidth),
                     machine.file.empty() ? "; assumed" : "");
}

SaveMemory save_memory(double bytes, double largest_tensor, int ranks) {
  constexpr auto block = static_cast<double>(BlockExchange::round_bytes);
  const double share = bytes / ranks, largest = std::min(largest_tensor, block);
  // Shares differ by a block at most (parallel/block_exchange).
  const double copy = share + (ranks > 1 ? largest * (ranks - 1) / ranks : 0);
  const double messages = ranks > 1 ? 2 * std::min(share, block) : 0;
  return {.copy = copy, .buffers = messages + std::min(largest, share)};
}

}  // namespace elastic
