// SPDX-License-Identifier: Apache-2.0
#include "run/folder/run_precision.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "comm/collectives.hpp"
#include "deck/parser.hpp"
#include "io/checkpoint_folder.hpp"
#include "kernels/products/gemm.hpp"
#include "plan/precision.hpp"
#include "run/folder/run_folder.hpp"
#include "run/folder/run_identity.hpp"

namespace elastic {
namespace {

PrecisionConfig precision_of(const StoredCheckpoint& checkpoint) {
  const Deck deck(read_head(CheckpointReader(checkpoint.path)).deck, checkpoint.path.string());
  const DeckEntry* entry = deck.find("precision", "compute");
  return {entry && entry->value == "bfloat16" ? Precision::bfloat16 : Precision::float32,
          fmt::format("that of the run so far, by {}", checkpoint.path.string())};
}

/// automatic: no checkpoint can be read.
PrecisionConfig past_precision(const RunConfig& config, std::optional<index_t> from) {
  const RunFolder folder{config.job.run_folder()};
  auto checkpoints = CheckpointFolder(folder.checkpoints(), 0).checkpoints();
  std::reverse(checkpoints.begin(), checkpoints.end());
  for (const auto& checkpoint : checkpoints) {
    if (from && checkpoint.step != *from) continue;
    try {
      return precision_of(checkpoint);
    } catch (const Error&) {  // what is damaged is judged where the run is resumed
    }
  }
  return {};
}

PrecisionConfig past_precision(const Communicator& comm, const RunConfig& config,
                               std::optional<index_t> from) {
  PrecisionConfig past;
  all_ranks_agree(comm, [&] {
    if (comm.is_root()) past = past_precision(config, from);
  });
  broadcast(comm, &past.compute, sizeof past.compute);
  broadcast(comm, past.reason);
  return past;
}

}  // namespace

PrecisionConfig automatic_precision(const Communicator& comm, const RunConfig& config, bool resume,
                                    std::optional<index_t> from, const Machine* machine) {
  if (resume)
    if (auto past = past_precision(comm, config, from); past.compute != Precision::automatic)
      return past;
  if (machine) return choose_precision(config, *machine);
  const RankArithmetic arithmetic{
      comm.size(), all_reduce_sum(comm, kernels::bfloat16_products_are_fast() ? 1 : 0)};
  const auto choice = choose_precision(config, arithmetic);
  if (arithmetic.with_fast_bfloat16 > 0 && arithmetic.with_fast_bfloat16 < arithmetic.ranks)
    log::warn("precision: float32 ({})", choice.reason);
  return choice;
}

void tell_precision(const RunConfig& config) {
  if (config.precision.compute == Precision::bfloat16 && !config.precision.reason.empty())
    log::info("precision: bfloat16 ({})", config.precision.reason);
}

}  // namespace elastic
