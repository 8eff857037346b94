// SPDX-License-Identifier: Apache-2.0
// The sequences on which the parent is ranked: <rank>/samples of them, which no stage trains on,
// shared out among the ranks as whole sequences.
#pragma once
#include "parallel/process_grid.hpp"
#include "train/micro_batches.hpp"
#include "train/token_sources.hpp"

namespace elastic {

/// No training stage reads the samples of this stream.
inline constexpr std::uint64_t calibration_stream = 1000001;

class CalibrationData {
 public:
  CalibrationData(const ProcessGrid& grid, const RunConfig& config, Arena& arena)
      : m_grid(grid),
        m_config(config),
        m_source(make_source(config, calibration_stream)),
        m_batches(grid.data_context, config, arena) {}

  /// Whether a mask says which tokens count as targets. The parent is then ranked by what it does
  /// where they do: at tokens with a weight in batch.targets. Otherwise by all tokens.
  bool has_mask() const { return m_source->has_mask(); }
  /// The weight of each token of a batch in what ranks the parent, on the host; empty: all are 1.
  std::vector<float> weights(const MicroBatch& batch) const {
    if (!has_mask()) return {};
    const auto h_weight = Kokkos::create_mirror_view_and_copy(HostSpace(), batch.targets.weight);
    return {h_weight.data(), h_weight.data() + h_weight.extent(0)};
  }
  /// Throws InputError if `counted`, the sum of all weights over all ranks, is 0.
  void require_weight(double counted) const {
    if (counted == 0)
      throw InputError(fmt::format(
          "rank: no token of the {} sequences of {} tokens counts as a target; expected more "
          "<rank>/samples, or longer ones",
          m_config.rank.samples, m_config.rank.seq_length));
  }
  /// Calls body(batch) for this rank's micro-batches. Collective: what one rank cannot read
  /// throws on all of them, and Stopped if one was asked to stop.
  template <class Body>
  void for_each_batch(const Body& body) {
    m_batches.for_each_together(
        m_grid.world, m_grid.tensor.size(), *m_source,
        {.count = m_config.rank.samples, .seq_length = m_config.rank.seq_length}, body);
  }

 private:
  const ProcessGrid& m_grid;
  const RunConfig& m_config;
  std::unique_ptr<TokenSource> m_source;
  MicroBatches m_batches;
};

}  // namespace elastic
