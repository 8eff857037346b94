// SPDX-License-Identifier: Apache-2.0
// Measured time of an inference per token, as a function of widths: what BudgetKind::seconds counts
// (doc/measured_budgets.md).
//
//   time = ends(D) + sum over layers of keep * t(D, w, c)
//   t(D, w, c) = a + b D + c w + d D w + e w c + f D w c      with factors >= 0 [seconds per token]
//
// D: hidden width, w: units, c: channels of each. Affine in every extent, so that expected widths
// have an expected time; with factors that are not negative, time grows with every width.
#pragma once
#include <array>
#include <string>
#include <vector>

#include "arch/layer_formulas.hpp"
#include "arch/model_shape.hpp"

namespace elastic {

/// Terms of a time: 1, D, w, D w, inner, D inner.
constexpr std::size_t num_time_terms = 6;
using TimeTerms = std::array<double, num_time_terms>;
/// The terms at given extents.
TimeTerms time_terms(const LayerExtents& extents);

/// A sum of terms.
struct TimeLaw {
  TimeTerms factors{};     ///< seconds per token
  double worst_error = 0;  ///< largest relative difference from the times that it was fitted to
  double seconds(const LayerExtents& extents) const;
  LayerExtents gradient(const LayerExtents& extents) const;
};

/// Layers of equal shape, and how long one of them takes.
struct LayerTimes {
  LayerShape layer;
  TimeLaw law;
  index_t least_width = 1, least_channels = 1;  ///< smallest that were measured
};

/// What was measured, and for which inference and model.
struct MeasuredTimes {
  std::string pass;  ///< "prefill" or "decode"
  index_t batch = 1, seq_length = 1;
  ModelShape model;          ///< all that but the order of its layers decides times
  index_t least_hidden = 1;  ///< smallest that was measured
  int ranks = 1;             ///< that worked at once
  std::string machine;       ///< for people: program, precision, execution space, threads
  TimeLaw ends;              ///< embedding, final norm, output layer; a function of D alone
  std::vector<LayerTimes> layers;
  /// Throws InputError if no layer of this shape was measured.
  const TimeLaw& of(const LayerShape& layer) const;
};

/// A time that was measured at given extents.
struct TimedExtents {
  LayerExtents extents;
  double seconds = 0;
};
/// The law with the least sum of squared relative differences from the times, no factor negative.
/// Of terms that do not differ over the given extents from those before them, only the first count.
TimeLaw fit_time_law(const std::vector<TimedExtents>& times);

/// min |A x - b| with x >= 0 (Lawson and Hanson 1974, chapter 23). A: rows of equal length.
std::vector<double> nonnegative_least_squares(const std::vector<std::vector<double>>& a,
                                              const std::vector<double>& b);

}  // namespace elastic
