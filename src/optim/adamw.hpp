// SPDX-License-Identifier: Apache-2.0
// AdamW over the tensors of a ParameterStore, or over those elements that one rank owns.
// The moments are a flat buffer beside the values.
//
//   AdamW<float> optimizer(model.parameters());
//   optimizer.step(exec, {.weight_decay = 0.1}, schedule.at(step), step, clip.scale);
//
// Where T is narrower than Accumulate<T>, so are the masters: the owned values before rounding.
// They are what is updated; a value is always its master, rounded once, and the value of an exact
// tensor is its master. Whatever sets values is followed by restart_masters(), or passes
// the unrounded numbers to set_masters().
#pragma once
#include <string>
#include <vector>

#include "base/parameter.hpp"
#include "comm/communicator.hpp"

namespace elastic {

/// Constants of the update; the learning rate is an argument of step().
struct AdamWConfig {
  double beta1 = 0.9, beta2 = 0.98, epsilon = 1e-8;
  double weight_decay = 0;  ///< of the tensors that want it (ParameterInfo::weight_decay)
};

enum class Moment { first, second };

/// Whether AdamW<T> holds masters: where T cannot hold an Accumulate<T>.
template <class T>
inline constexpr bool has_masters = !std::is_same_v<T, Accumulate<T>>;

/// Equation: kernels/update/adamw_step.hpp. One instance per store; neighbouring elements
/// of equal decay are one kernel call.
template <class T>
class AdamW {
 public:
  /// Moments start at zero, masters at the values as they are. The store's Views are shared, not
  /// copied. Throws ContractError if it is not allocated with gradients.
  explicit AdamW(const ParameterStore<T>& parameters);
  /// For the elements in `owned` only (ranges of the flat buffers, rising; FlatSlices::of):
  /// moments and masters exist for them alone, step() changes no other values. An element gets the
  /// bits that it gets when all are owned.
  AdamW(const ParameterStore<T>& parameters, const std::vector<Range>& owned);

  /// Updates the owned values from gradient * grad_scale. `step_number` counts from 1 and drives
  /// the bias correction. Gradients are left as they are.
  void step(const ExecutionSpace& exec, const AdamWConfig& config, double learning_rate,
            index_t step_number, double grad_scale = 1);

  const std::vector<Range>& owned() const { return m_owned; }
  /// m and v of the owned elements, flat, in the order of the store.
  View1<Accumulate<T>> first_moments() const { return m_first; }
  View1<Accumulate<T>> second_moments() const { return m_second; }

  /// Values of the owned elements before rounding, in this order; empty unless has_masters<T>.
  View1<Accumulate<T>> masters() const { return m_masters; }
  /// Masters become the values as they are now: after values were initialised, read or permuted.
  void restart_masters() const;

  /// Moments of one tensor that is owned as a whole, [rows, columns], to read or to restore. Throw
  /// ContractError for an unknown name or a tensor of which others own a part.
  View2<Accumulate<T>> first_moment(const std::string& name) const {
    return moment(Moment::first, name);
  }
  View2<Accumulate<T>> second_moment(const std::string& name) const {
    return moment(Moment::second, name);
  }

  /// Copy those of some elements of a tensor's part (counted from its first) that are owned to the
  /// host and from it; `out` and `values` begin at the first of `elements`. Nothing is done with
  /// masters where there are none. Local.
  void moment_to_host(Moment which, const Parameter<T>& parameter, Range elements,
                      Accumulate<T>* out) const {
    to_host(moments(which), parameter, elements, out);
  }
  void moment_from_host(Moment which, const Parameter<T>& parameter, Range elements,
                        const Accumulate<T>* values) const {
    from_host(moments(which), parameter, elements, values);
  }
  void masters_to_host(const Parameter<T>& parameter, Range elements, Accumulate<T>* out) const {
    if (has_masters<T>) to_host(m_masters, parameter, elements, out);
  }
  void masters_from_host(const Parameter<T>& parameter, Range elements,
                         const Accumulate<T>* values) const {
    if (has_masters<T>) from_host(m_masters, parameter, elements, values);
  }

  /// Collective over the ranks that share the elements of the store among them.
  /// Returns one tensor's moments (this tensor-parallel rank's rows * columns) on rank 0,
  /// on the host; empty elsewhere.
  std::vector<Accumulate<T>> gather_moment(const Communicator& comm, Moment which,
                                           const std::string& name) const;
  /// Takes the owned elements from one tensor's moments [rows * columns] on the host. Local.
  void set_moment(Moment which, const std::string& name, const Accumulate<T>* values) const;
  /// Like gather_moment and set_moment for one tensor's values before rounding; where there are no
  /// masters, for the values themselves. set_masters takes the owned elements, and rounds all
  /// of them into the values of this rank, owned or not.
  std::vector<Accumulate<T>> gather_masters(const Communicator& comm,
                                            const std::string& name) const;
  void set_masters(const std::string& name, const Accumulate<T>* values) const;

  /// Kernel calls of one step.
  index_t num_segments() const { return static_cast<index_t>(m_segments.size()); }

 private:
  struct Segment {
    index_t begin, end;    // in the flat buffers of the store
    index_t moment_begin;  // in moments and masters
    index_t exact_begin;   // in the exact values of the store
    bool weight_decay, exact;
  };
  /// A piece of one tensor that this instance owns.
  struct Piece {
    index_t begin, end, moment_begin;
  };
  const Parameter<T>& tensor(const std::string& name) const;
  /// Those of some elements of a tensor, counted from its first.
  std::vector<Piece> pieces_of(const Parameter<T>& parameter, Range elements) const;
  std::vector<Piece> pieces_of(const Parameter<T>& parameter) const {
    return pieces_of(parameter, {0, parameter.size()});
  }
  View2<Accumulate<T>> moment(Moment which, const std::string& name) const;
  const View1<Accumulate<T>>& moments(Moment which) const {
    return which == Moment::first ? m_first : m_second;
  }
  /// `flat`: moments or masters.
  std::vector<Accumulate<T>> gather(const Communicator& comm, const View1<Accumulate<T>>& flat,
                                    const Parameter<T>& parameter) const;
  void to_host(const View1<Accumulate<T>>& flat, const Parameter<T>& parameter, Range elements,
               Accumulate<T>* out) const;
  void from_host(const View1<Accumulate<T>>& flat, const Parameter<T>& parameter, Range elements,
                 const Accumulate<T>* values) const;

  ParameterStore<T> m_parameters;
  std::vector<Range> m_owned;
  std::vector<Segment> m_segments;
  View1<Accumulate<T>> m_first, m_second, m_masters;
};

}  // namespace elastic
