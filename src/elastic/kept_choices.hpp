// SPDX-License-Identifier: Apache-2.0
// A draw of the router, and what is left of it without its small choices: the one mixture that
// masks, norms, gates and the expected cost describe (doc/equations/router.md).
//
//   K     = choices with pi_i >= epsilon, and the largest
//   sum   = sum over K of pi_i
//   pi'_i = pi_i / sum for i in K, else 0
//
//   dL/dpi_i = (dL/dpi'_i - sum_j pi'_j dL/dpi'_j) / sum for i in K, else 0
//
// A straight-through draw computes with the one-hot of its largest pi, and passes the gradient by
// it on as if it were that by pi' (Bengio, Leonard and Courville, arXiv 1308.3432).
#pragma once
#include <vector>

namespace elastic {

/// Probabilities of all decisions: one list per decision.
using Probabilities = std::vector<std::vector<double>>;

/// One draw of the router.
struct RouterDraw {
  Probabilities value;  ///< of the forward pass: `soft`, or the one-hot of its largest
  Probabilities soft;   ///< what the gradient goes through
};

/// A draw without its small choices.
struct KeptChoices {
  Probabilities value;      ///< of the forward pass
  Probabilities soft;       ///< pi'; 0 where dropped
  std::vector<double> sum;  ///< of the kept pi of each decision
};

/// Throws ContractError where `value` takes a choice that is dropped, NumericsError where the soft
/// draw is not finite.
KeptChoices keep_choices(const RouterDraw& draw, double epsilon);
/// dL/dpi of the soft draw from dL/d value'; formula at the top of this file.
Probabilities keep_choices_backward(const KeptChoices& kept, const Probabilities& dvalue);

}  // namespace elastic
