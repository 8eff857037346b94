// SPDX-License-Identifier: Apache-2.0
// Trainable tensors. All values of a model lie in one flat buffer and all gradients in another,
// so that the optimizer, the gradient norm and the data-parallel sum are single passes. Each
// tensor says which elastic dimension its rows and columns follow. Ranking, slicing and checkpoints
// walk this list and know no layer.
//
// Few tensors are exact: what is exponentiated or added up over a sequence is kept in Accumulate<T>
// whatever T is. Layers read them through exact_vector(); whoever walks over all tensors takes
// with_values().
#pragma once
#include <string>
#include <vector>

#include "base/shapes.hpp"
#include "base/shard.hpp"

namespace elastic {

/// What an extent of a tensor counts. All but `fixed` shrink with the submodel
/// and are permuted by the ranking.
enum class Dim {
  fixed,            ///< never elastic: vocabulary, groups * state, conv taps, 1
  hidden,           ///< D
  mamba_heads,      ///< H of the tensor's layer
  mamba_inner,      ///< H*P of the layer: channel p of head h is h*P + p
  attention_inner,  ///< A*C of the layer: channel c of head a is a*C + c
  ffn               ///< F of the layer
};
/// As in the attribute `axes` of files: "mamba_inner".
const char* dim_name(Dim dim);

/// Distribution of the initial values of a tensor (model/initialization.hpp).
enum class InitialLaw {
  normal,       ///< N(0, std^2)
  residual,     ///< N(0, std^2 / (2 layers)): what writes to the residual stream
  ones,         ///< norms, D
  convolution,  ///< U(-1, 1) / sqrt(W)
  decay_rate,   ///< A_log: log of U(1, 16)
  time_step     ///< dt_bias: inverse softplus of a log-uniform step in [1e-3, 0.1]
};

/// What is known of a tensor as a whole, on any number of ranks.
struct ParameterInfo {
  std::string name;  ///< global name, e.g. layers.3.mixer.in_proj.x
  index_t rows = 1;  ///< 1 for vectors
  index_t columns = 0;
  Dim row_dim = Dim::fixed, column_dim = Dim::fixed;
  /// Tensor-parallel ranks hold rows (columns) in units of this many, sharded as
  /// in base/shard.hpp; 0: every rank has all. At most one of the two is not 0.
  index_t row_unit = 0, column_unit = 0;
  index_t layer = -1;        ///< index in the parent's pattern; -1 outside the layers
  bool weight_decay = true;  ///< false for norms, A_log, D, dt_bias and biases
  bool vector = false;       ///< one-dimensional in files
  bool exact = false;        ///< values in Accumulate<T>: Parameter::exact, not Parameter::value
  InitialLaw initial = InitialLaw::normal;
  /// True if ranks hold parts of the tensor, false if every rank has all.
  bool sharded() const { return row_unit > 0 || column_unit > 0; }
};

/// One tensor: this rank's part of the values and of the gradient.
template <class T>
struct Parameter {
  ParameterInfo info;
  index_t rows = 1, columns = 0;  ///< of this rank's part
  index_t offset = 0;             ///< of the first element in the flat buffers
  index_t exact_offset = 0;       ///< in exact_values(): how many exact elements come before
  View2<T> value;                 ///< [rows, columns], contiguous; empty if exact and T is narrower
  View2<Accumulate<T>> exact;     ///< [rows, columns] of an exact tensor, else empty
  View2<Accumulate<T>> gradient;  ///< the same extents; empty in a frozen model
  index_t size() const { return rows * columns; }
  /// [rows * columns]. Throws ContractError for the values of an exact tensor that T cannot hold.
  View1<T> value_vector() const {
    ELASTIC_REQUIRE(index_t(value.size()) == size(), "{} is exact: read exact_vector()", info.name);
    return View1<T>(value.data(), size());
  }
  /// [rows * columns]. Throws ContractError for a tensor that is not exact.
  View1<Accumulate<T>> exact_vector() const {
    ELASTIC_REQUIRE(info.exact, "{} is not exact: read value_vector()", info.name);
    return View1<Accumulate<T>>(exact.data(), size());
  }
  View1<Accumulate<T>> gradient_vector() const {
    return View1<Accumulate<T>>(gradient.data(), gradient.size() ? size() : 0);
  }
};

/// Whether exact tensors have memory of their own: where T cannot hold an Accumulate<T>.
template <class T>
inline constexpr bool has_exact_values = !std::is_same_v<T, Accumulate<T>>;

/// Returns body(view) for the values of a tensor as they are kept: View2<T>, of an exact tensor
/// View2<Accumulate<T>>.
template <class T, class Body>
auto with_values(const Parameter<T>& parameter, const Body& body) {
  if constexpr (has_exact_values<T>)
    if (parameter.info.exact) return body(parameter.exact);
  return body(parameter.value);
}

/// Values of this rank's part [rows * columns] from the host, rounded once unless the tensor
/// is exact; and to the host, widened.
template <class T>
void set_values(const Parameter<T>& parameter, const Accumulate<T>* values);
template <class T>
std::vector<Accumulate<T>> values_to_host(const Parameter<T>& parameter);

/// Position of an element of this rank's part in the whole tensor, both row-major.
struct GlobalPosition {
  index_t columns, whole_columns, row_unit, column_unit;
  Shard shard;
  KOKKOS_INLINE_FUNCTION index_t operator()(index_t i) const {
    return global_index(i / columns, row_unit, shard) * whole_columns +
           global_index(i % columns, column_unit, shard);
  }
};

/// All tensors of a model: declare each with add(), then allocate() once.
/// Values and gradients start at zero.
template <class T>
class ParameterStore {
 public:
  /// Holds the part of each tensor that belongs to `shard` of the tensor-parallel ranks.
  explicit ParameterStore(const Shard& shard = {}) : m_shard(shard) {}
  const Shard& shard() const { return m_shard; }
  /// Declares a tensor and returns its index. Throws ContractError after allocate()
  /// or for a name that is already taken.
  index_t add(ParameterInfo info);
  /// Allocates the flat buffers of all declared tensors; without gradients for a frozen model.
  void allocate(bool with_gradients);

  index_t size() const { return static_cast<index_t>(m_parameters.size()); }
  index_t num_elements() const { return m_num_elements; }
  const Parameter<T>& operator[](index_t i) const {
    return m_parameters[static_cast<std::size_t>(i)];
  }
  auto begin() const { return m_parameters.begin(); }
  auto end() const { return m_parameters.end(); }
  /// The tensor of this name or nullptr.
  const Parameter<T>* find(const std::string& name) const;
  GlobalPosition global_position(const Parameter<T>& p) const {
    return {p.columns, p.info.columns, p.info.row_unit, p.info.column_unit, m_shard};
  }
  /// Flat [num_elements]. Where T is narrower than Accumulate<T>, the places of exact tensors are
  /// not used and stay zero.
  View1<T> values() const { return m_values; }
  /// The exact tensors, one after the other, if they are not in values(): has_exact_values<T>.
  View1<Accumulate<T>> exact_values() const { return m_exact_values; }
  View1<Accumulate<T>> gradients() const { return m_gradients; }  ///< flat [num_elements] or empty

 private:
  Shard m_shard;
  std::vector<Parameter<T>> m_parameters;
  index_t m_num_elements = 0, m_num_exact = 0;
  bool m_allocated = false;
  View1<T> m_values;
  View1<Accumulate<T>> m_exact_values;
  View1<Accumulate<T>> m_gradients;
};

/// Copies all values from a store of the same tensors.
template <class T>
void copy_values(const ParameterStore<T>& from, const ParameterStore<T>& to) {
  Kokkos::deep_copy(to.values(), from.values());
  Kokkos::deep_copy(to.exact_values(), from.exact_values());
}

}  // namespace elastic
