// SPDX-License-Identifier: Apache-2.0
// The Pareto front of points with several goals, of which less is better.
#pragma once
#include <cstddef>
#include <vector>

namespace elastic {

/// True if `a` is nowhere worse than `b` and somewhere better.
bool dominates(const std::vector<double>& a, const std::vector<double>& b);
/// For each point, whether no other dominates it. All points have equally many goals; equal points
/// are on the front together.
std::vector<bool> pareto_front(const std::vector<std::vector<double>>& points);

}  // namespace elastic
