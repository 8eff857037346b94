// SPDX-License-Identifier: Apache-2.0
// From the life signs of the ranks of a node, seen again and again: does the run still get on, and
// if not, which ranks are missing? No threads, clocks or MPI: tests can do the looking.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace elastic {

/// What one rank shows at one moment (base/life_sign.hpp).
struct RankSign {
  int rank = 0;  ///< of the run
  std::uint64_t beats = 0, progress = 0;
  std::int64_t step = 0;
  bool waits = false;  ///< in a collective
  bool left = false;   ///< is watched no more
  std::string region;
};

/// What is to be done.
struct Stall {
  bool found = false;
  std::vector<int> missing;  ///< places of the ranks, on the node, that the others wait for
  int speaker = 0;           ///< place of the lowest rank that lives: it reports
  std::string report;        ///< one or more lines
};

class StallDetector {
 public:
  /// `patience`: seconds without any progress. `other_nodes`: whether the run has ranks elsewhere.
  StallDetector(double patience, bool other_nodes)
      : m_patience(patience), m_other_nodes(other_nodes) {}

  /// To be called every `seconds` with the signs of all ranks of the node in the same order.
  /// A stall is found if a rank has shown no beat for `patience`, or none has made progress for so
  /// long. If then all ranks wait for one of another node, they give that node three seconds more
  /// to report, since it knows which it is.
  ///
  /// Time counts by calls: whoever was stopped together with the others, and goes on with
  /// them, has seen no time pass.
  Stall look(const std::vector<RankSign>& signs, double seconds);

 private:
  struct Age {
    std::uint64_t beats = 0, progress = 0;
    double since_beat = 0, since_progress = 0;
  };
  bool is_dead(std::size_t place) const;
  void grow_older(const std::vector<RankSign>& signs, double seconds);
  std::string report(const std::vector<RankSign>& signs, const std::vector<int>& missing) const;

  double m_patience;
  bool m_other_nodes;
  std::vector<Age> m_ages;
};

}  // namespace elastic
