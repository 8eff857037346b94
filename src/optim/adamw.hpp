// SPDX-License-Identifier: Apache-2.0
// AdamW over all tensors of a ParameterStore, with the moments as flat buffers beside its values.
//
//   AdamW<float> optimizer(model.parameters());
//   optimizer.step(exec, {.weight_decay = 0.1}, schedule.at(step), step, clip.scale);
#pragma once
#include <string>
#include <vector>

#include "base/parameter.hpp"

namespace elastic {

struct AdamWConfig {
  double beta1 = 0.9, beta2 = 0.98, epsilon = 1e-8;
  double weight_decay = 0;  ///< of the tensors that want it (ParameterInfo::weight_decay)
};

/// Equation: kernels/adamw_step.hpp. One instance per store; consecutive tensors of equal decay are
/// one kernel call.
template <class S>
class AdamW {
 public:
  /// Moments start at zero. The store must be allocated with gradients; its Views are shared, not
  /// copied. Throws ContractError otherwise.
  explicit AdamW(const ParameterStore<S>& parameters);

  /// Updates all values from gradient * grad_scale. `step_number` counts from 1 and drives the bias
  /// correction. Gradients are left as they are.
  void step(const ExecutionSpace& exec, const AdamWConfig& config, double learning_rate,
            index_t step_number, double grad_scale = 1);

  View1<S> first_moments() const {
    return m_first;
  }  ///< m, flat [num_elements] in the order of the store
  View1<S> second_moments() const { return m_second; }  ///< v, likewise
  /// Moments of one tensor, [rows, columns], to read or to restore. Throw ContractError for an
  /// unknown name.
  View2<S> first_moment(const std::string& name) const { return moment(m_first, name); }
  View2<S> second_moment(const std::string& name) const { return moment(m_second, name); }
  /// Kernel calls of one step.
  index_t num_segments() const { return static_cast<index_t>(m_segments.size()); }

 private:
  struct Segment {
    index_t begin, end;
    bool weight_decay;
  };
  View2<S> moment(const View1<S>& flat, const std::string& name) const;

  ParameterStore<S> m_parameters;
  std::vector<Segment> m_segments;
  View1<S> m_first, m_second;
};

}  // namespace elastic
