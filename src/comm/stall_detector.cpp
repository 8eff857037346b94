// SPDX-License-Identifier: Apache-2.0
#include "comm/stall_detector.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace elastic {
namespace {
constexpr double other_node_first = 3;  // seconds that the node of a missing rank has to report

std::string place_of(const RankSign& sign) {
  return fmt::format("{} of step {}", sign.region, sign.step);
}

/// "rank 3 in step/forward of step 12", ranks at one place together: "ranks 0, 1 in ...".
std::string list_of(const std::vector<const RankSign*>& signs) {
  std::string text;
  std::vector<bool> said(signs.size(), false);
  for (std::size_t i = 0; i < signs.size(); ++i) {
    if (said[i]) continue;
    std::string ranks = fmt::format("{}", signs[i]->rank);
    bool several = false;
    for (std::size_t k = i + 1; k < signs.size(); ++k)
      if (place_of(*signs[k]) == place_of(*signs[i])) {
        said[k] = several = true;
        ranks += fmt::format(", {}", signs[k]->rank);
      }
    text += fmt::format("{}rank{} {} in {}", text.empty() ? "" : "; ", several ? "s" : "", ranks,
                        place_of(*signs[i]));
  }
  return text;
}
}  // namespace

/// A beat comes several times a second: half of the patience without one is long.
bool StallDetector::is_dead(std::size_t place) const {
  return m_ages[place].since_beat >= m_patience / 2;
}

void StallDetector::grow_older(const std::vector<RankSign>& signs, double seconds) {
  if (m_ages.size() != signs.size()) {  // the first look
    m_ages.clear();
    for (const RankSign& sign : signs)
      m_ages.push_back({.beats = sign.beats, .progress = sign.progress});
    return;
  }
  for (std::size_t i = 0; i < signs.size(); ++i) {
    Age& age = m_ages[i];
    age.since_beat = age.beats == signs[i].beats ? age.since_beat + seconds : 0;
    age.since_progress = age.progress == signs[i].progress ? age.since_progress + seconds : 0;
    age.beats = signs[i].beats;
    age.progress = signs[i].progress;
  }
}

std::string StallDetector::report(const std::vector<RankSign>& signs,
                                  const std::vector<int>& missing) const {
  const auto is_missing = [&](std::size_t place) {
    return std::find(missing.begin(), missing.end(), static_cast<int>(place)) != missing.end();
  };
  std::vector<const RankSign*> dead, busy, waiting;
  for (std::size_t i = 0; i < signs.size(); ++i)
    (!is_missing(i) ? waiting : is_dead(i) ? dead : busy).push_back(&signs[i]);
  std::string text = fmt::format("watchdog: no progress for {:g} s", m_patience);
  if (!dead.empty()) text += fmt::format("\n  stopped or dead: {}", list_of(dead));
  if (!busy.empty()) text += fmt::format("\n  does not arrive: {}", list_of(busy));
  if (waiting.empty()) return text;
  const bool all_wait = dead.empty() && busy.empty();
  if (all_wait && m_other_nodes)
    return text +
           fmt::format("\n  all ranks here wait for a rank of another node: {}", list_of(waiting));
  if (all_wait)
    return text + fmt::format("\n  all ranks wait for each other: {}", list_of(waiting));
  return text + fmt::format("\n  waiting: {}", list_of(waiting));
}

Stall StallDetector::look(const std::vector<RankSign>& signs, double seconds) {
  grow_older(signs, seconds);
  Stall stall;
  if (std::any_of(signs.begin(), signs.end(), [](const RankSign& sign) { return sign.left; }))
    return stall;  // an error or the end: main sees to the others
  double longest_silence = 0, last_progress = m_ages.empty() ? 0 : m_ages[0].since_progress;
  for (const Age& age : m_ages) {
    longest_silence = std::max(longest_silence, age.since_beat);
    last_progress = std::min(last_progress, age.since_progress);
  }
  if (longest_silence < m_patience && last_progress < m_patience) return stall;
  bool spoken_for = false;
  for (std::size_t i = 0; i < signs.size(); ++i) {
    if (is_dead(i) || (!signs[i].waits && last_progress >= m_patience))
      stall.missing.push_back(static_cast<int>(i));
    if (!is_dead(i) && !spoken_for) stall.speaker = static_cast<int>(i);
    spoken_for |= !is_dead(i);
  }
  if (stall.missing.empty() && m_other_nodes && last_progress < m_patience + other_node_first)
    return stall;
  stall.found = true;
  stall.report = report(signs, stall.missing);
  return stall;
}

}  // namespace elastic
