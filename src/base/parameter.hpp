// SPDX-License-Identifier: Apache-2.0
// Trainable tensors: all of a model lie in one flat buffer (and their gradients in another), so that the optimizer, the
// gradient norm and the data-parallel sum are single passes. Each tensor says which elastic dimension its rows and columns
// follow; ranking, slicing and checkpoints walk this list and know no layer.
#pragma once
#include <string>
#include <vector>

#include "base/shapes.hpp"

namespace elastic {

/// What an extent of a tensor counts. All but `fixed` shrink with the submodel and are permuted by the ranking.
enum class Dim {
  fixed,            ///< never elastic: vocabulary, groups * state, conv taps, 1
  hidden,           ///< D
  mamba_heads,      ///< H of the tensor's layer
  mamba_inner,      ///< H*P of the layer: channel p of head h is h*P + p
  attention_inner,  ///< A*C of the layer: channel c of head a is a*C + c
  ffn               ///< F of the layer
};

struct ParameterInfo {
  std::string name;          ///< global name, e.g. layers.3.mixer.in_proj.x
  index_t rows = 1;          ///< 1 for vectors
  index_t columns = 0;
  Dim row_dim = Dim::fixed, column_dim = Dim::fixed;
  index_t layer = -1;        ///< index in the parent's pattern; -1 outside the layers
  bool weight_decay = true;  ///< false for norms, A_log, D, dt_bias and biases
  bool vector = false;       ///< rank 1 in files
};

template <class S>
struct Parameter {
  ParameterInfo info;
  index_t offset = 0;  ///< of the first element in the flat buffers
  View2<S> value;      ///< [rows, columns], contiguous
  View2<S> gradient;   ///< the same extents; empty in a frozen model
  View1<S> value_vector() const { return View1<S>(value.data(), info.rows * info.columns); }
  View1<S> gradient_vector() const { return View1<S>(gradient.data(), gradient.size() ? info.rows * info.columns : 0); }
};

/// Declare all tensors with add(), then allocate() once. Values and gradients start at zero.
template <class S>
class ParameterStore {
 public:
  /// Returns the index of the tensor. Throws ContractError after allocate() or for a name already taken.
  index_t add(ParameterInfo info);
  void allocate(bool with_gradients);

  index_t size() const { return static_cast<index_t>(m_parameters.size()); }
  index_t num_elements() const { return m_num_elements; }
  const Parameter<S>& operator[](index_t i) const { return m_parameters[static_cast<std::size_t>(i)]; }
  auto begin() const { return m_parameters.begin(); }
  auto end() const { return m_parameters.end(); }
  /// The tensor of this name or nullptr.
  const Parameter<S>* find(const std::string& name) const;
  View1<S> values() const { return m_values; }        ///< flat [num_elements]
  View1<S> gradients() const { return m_gradients; }  ///< flat [num_elements] or empty

 private:
  std::vector<Parameter<S>> m_parameters;
  index_t m_num_elements = 0;
  bool m_allocated = false;
  View1<S> m_values, m_gradients;
};

}  // namespace elastic
