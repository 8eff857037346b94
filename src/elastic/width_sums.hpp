// SPDX-License-Identifier: Apache-2.0
// All sums of widths that layers of one kind can reach together, each with its likeliest choice of
// every layer: a dynamic programme over layers. Costs are affine in these sums for a given hidden
// width (doc/adding_a_layer.md). So choices of equal sums cost the same, and only the likeliest
// of them can be wanted.
#pragma once
#include <array>
#include <vector>

#include "base/types.hpp"

namespace elastic {

/// One choice of a layer.
struct WidthItem {
  index_t width = 0, head_channels = 0;
  double log_pi = 0;
  index_t width_choice = 0, channel_choice = 0;  ///< where they stand in the lists of decisions
};

/// Sums over layers, and the log-probability of the likeliest choice that reaches them.
struct WidthSum {
  std::array<index_t, 3> sum{};  ///< of width, of width * head channels, of head channels
  double log_pi = 0;
  int previous = -1, item = -1;  ///< the sum without the last layer, and the last layer's choice
};

class WidthSums {
 public:
  /// items[n]: the choices of layer n, at least one. All sums are kept up to `most`. Where there
  /// are more, sums that agree within a part 2^-k of the largest in each of the three are merged,
  /// with the largest k that leaves at most that many; the likeliest stays, with its exact sums.
  explicit WidthSums(std::vector<std::vector<WidthItem>> items, std::size_t most = 100000);
  /// The sums of the first `count` layers.
  const std::vector<WidthSum>& of_first(std::size_t count) const { return m_steps[count]; }
  /// The choices of the first `count` layers behind one of their sums: places in items[n].
  std::vector<std::size_t> choices(std::size_t count, std::size_t sum) const;
  const std::vector<std::vector<WidthItem>>& items() const { return m_items; }
  /// By how much the sums of a choice that was merged away may differ from those of the one that
  /// stayed, as a part of the largest sums; 0: none was.
  double error() const { return m_error; }

 private:
  std::vector<WidthSum> step(const std::vector<WidthSum>& sums,
                             const std::vector<WidthItem>& items) const;
  void merge(std::vector<WidthSum>& sums, std::size_t most);

  std::vector<std::vector<WidthItem>> m_items;
  std::vector<std::vector<WidthSum>> m_steps;  // by the number of layers
  double m_error = 0;
};

}  // namespace elastic
