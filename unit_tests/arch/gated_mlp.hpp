// SPDX-License-Identifier: Apache-2.0
// A fourth kind of layer, which lives in the tests alone and shows that a kind is described once:
// a gated linear unit without bias, elastic in its neurons F like the MLP.
//
//   y = W_down (m (.) silu(g) (.) v),   g = W_gate u,   v = W_up u
//
// Everything that doc/adding_a_layer.md asks for is here and in gated_mlp_kind() below.
#pragma once
#include "arch/hybrid_pattern.hpp"
#include "arch/layer_kind.hpp"
#include "kernels/rows/vector_exp.hpp"
#include "layers/generation.hpp"
#include "layers/layer.hpp"
#include "layers/unit_sum.hpp"

namespace elastic::test {

inline constexpr LayerKind gated_mlp_symbol = static_cast<LayerKind>('G');

/// a = m silu(g) v and its gradients, on [T, F].
template <class T>
struct GateKernels {
  View2<T> gate, up;
  View1<const Accumulate<T>> mask;  // [F] or empty: ones

  KOKKOS_INLINE_FUNCTION Accumulate<T> mask_of(index_t f) const {
    return mask.extent(0) ? mask(f) : Accumulate<T>(1);
  }

  void forward(const ExecutionSpace& exec, const View2<T>& activated) const {
    const auto self = *this;
    const auto columns = static_cast<index_t>(gate.extent(1));
    Kokkos::parallel_for(
        "elastic::test::gate_forward",
        Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<index_t>>(
            exec, 0, static_cast<index_t>(gate.size())),
        KOKKOS_LAMBDA(const index_t i) {
          const index_t t = i / columns, f = i % columns;
          const Accumulate<T> g = self.gate(t, f);
          activated(t, f) =
              static_cast<T>(self.mask_of(f) * g * kernels::vector_sigmoid(g) * self.up(t, f));
        });
  }
  /// [in] dactivated; [out] dgate, dup, none of which is another; dmask [F] += if not empty.
  void backward(const ExecutionSpace& exec, const View2<T>& dactivated, const View2<T>& dgate,
                const View2<T>& dup, const View1<Accumulate<T>>& dmask) const {
    const auto self = *this;
    Kokkos::parallel_for(
        "elastic::test::gate_backward",
        Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<index_t>>(
            exec, 0, static_cast<index_t>(gate.extent(1))),
        KOKKOS_LAMBDA(const index_t f) {
          Accumulate<T> sum = 0;
          for (index_t t = 0; t < static_cast<index_t>(self.gate.extent(0)); ++t) {
            const Accumulate<T> g = self.gate(t, f), v = self.up(t, f), da = dactivated(t, f);
            const Accumulate<T> s = kernels::vector_sigmoid(g), m = self.mask_of(f);
            sum += da * g * s * v;
            dup(t, f) = static_cast<T>(da * m * g * s);
            dgate(t, f) = static_cast<T>(da * m * v * (s + g * s * (1 - s)));
          }
          if (dmask.extent(0)) dmask(f) += sum;
        });
  }
};

template <class T>
class GatedMlp final : public Layer<T> {
 public:
  using typename Layer<T>::Saved;
  GatedMlp(const ModelShape& shape, index_t index, ParameterStore<T>& store) : m_store(store) {
    declare_tensors(shape, index, store, {&m_gate, &m_up, &m_down});
  }

  std::unique_ptr<Saved> make_saved() const override { return std::make_unique<GatedSaved>(); }
  std::unique_ptr<GenerationLayer<T>> for_generation() const override {
    return std::make_unique<PositionwiseGeneration<T>>(*this);
  }

  void forward(const LayerContext& context, const LayerActive<T>& active, View2<const T> u,
               View2<Accumulate<T>> y, Saved& saved_base) const override {
    auto& saved = static_cast<GatedSaved&>(saved_base);
    const index_t tokens = u.extent_int(0), ffn = active.width;
    for (auto* matrix : {&saved.gate, &saved.up, &saved.activated})
      *matrix = context.arena->matrix<T>(tokens, ffn);
    const auto units = UnitRows::prefix(ffn);
    linear_forward<T>(context.products(), u, m_store[m_gate].value, units, saved.gate);
    linear_forward<T>(context.products(), u, m_store[m_up].value, units, saved.up);
    GateKernels<T>{saved.gate, saved.up, active.inner.value}.forward(context.exec, saved.activated);
    linear_of_units<T>(context, m_store.shard(), saved.activated, m_store[m_down].value,
                       UnitRows::units(ffn), y);
  }

  void backward(const LayerContext& context, const LayerActive<T>& active, View2<const T> dy,
                View2<const T> u, const Saved& saved_base, View2<Accumulate<T>> du) const override {
    const auto& saved = static_cast<const GatedSaved&>(saved_base);
    const Arena::Scope scope(*context.arena);
    const index_t tokens = u.extent_int(0), ffn = active.width;
    const auto dactivated = context.arena->matrix<T>(tokens, ffn),
               dgate = context.arena->matrix<T>(tokens, ffn),
               dup = context.arena->matrix<T>(tokens, ffn);
    const auto &gate = m_store[m_gate], &up = m_store[m_up], &down = m_store[m_down];
    const auto units = UnitRows::prefix(ffn);
    for_each_block(context, [&](const TokenBlock& block) {
      linear_units_input_backward<T>(context.products(), block.of(dy), block.of(saved.activated),
                                     down.value, down.gradient, units, block.of(dactivated));
      GateKernels<T>{block.of(saved.gate), block.of(saved.up), active.inner.value}.backward(
          context.exec, block.of(dactivated), block.of(dgate), block.of(dup),
          active.inner.gradient);
      linear_weight_gradient<T>(context.products(), block.of(dgate), block.of(u), gate.gradient,
                                units);
      linear_weight_gradient<T>(context.products(), block.of(dup), block.of(u), up.gradient, units);
      close_block<T>(context, {gate.gradient_vector(), up.gradient_vector(), down.gradient_vector(),
                               active.inner.gradient});
    });
    UnitSum<T> sum(context, m_store.shard(), du);
    sum.add_rows(dgate, gate.value, UnitRows::units(ffn));
    sum.add_rows(dup, up.value, UnitRows::units(ffn));
    sum.finish();
  }

  View2<const T> importance_activations(const Saved& saved, UnitActivations which) const override {
    const auto& kept = static_cast<const GatedSaved&>(saved);
    return which == UnitActivations::outputs ? kept.activated : kept.up;
  }

 private:
  struct GatedSaved : Saved {
    View2<T> gate, up;   // [T, F]
    View2<T> activated;  // [T, F] m silu(gate) up
  };
  const ParameterStore<T>& m_store;
  index_t m_gate, m_up, m_down;  // gate_proj, up_proj [F, D], down_proj [D, F]
};

/// Its description: the keys of the deck, the axis and the dimension are those of the MLP.
inline LayerDescription gated_mlp_kind() {
  using enum TensorExtent;
  using Shape = const ModelShape&;
  using Extents = const LayerExtents&;
  using Facts = const PassFacts&;
  return {
      .kind = gated_mlp_symbol,
      .name = "gated MLP",
      .deck = {.block = "mlp", .width = "ffn_hidden_size"},
      .hf = {.types = {"gated_mlp"},
             .width = {{"intermediate_size"}},
             .head_channels = {},
             .num_groups = {}},
      .shape =
          [](const ModelConfig& c) {
            return LayerShape{gated_mlp_symbol, c.ffn_hidden_size};
          },
      .tensors = {{"gate_proj", inner, hidden, InitialLaw::normal, "gate_proj.weight"},
                  {"up_proj", inner, hidden, InitialLaw::normal, "up_proj.weight"},
                  {"down_proj", hidden, inner, InitialLaw::residual, "down_proj.weight"}},
      .inner_dim = Dim::ffn,
      .width_axis = Axis::ffn,
      .parameters = [](Shape, Extents e) { return e.hidden + 3 * e.hidden * e.inner; },
      .parameters_gradient =
          [](Shape, Extents e) {
            return LayerExtents{1 + 3 * e.inner, 0, 3 * e.hidden, 0};
          },
      .cache = [](Shape, Extents, double) { return 0.0; },
      .cache_gradient = [](Shape, double) { return LayerExtents{}; },
      .forward_work =
          [](Shape, Extents e, Facts) {
            return LayerWork{.products = 6 * e.hidden * e.inner, .elements = 3 * e.inner};
          },
      .backward_work =
          [](Shape, Extents e, Facts) {
            return LayerWork{.products = 12 * e.hidden * e.inner, .elements = 5 * e.inner};
          },
      .memory =
          [](Shape model, const LayerShape& layer, const PassTokens& t, const KernelWorkspaces&) {
            const double one = static_cast<double>(t.count() * layer.width);
            return LayerElements{3 * one,
                                 3 * one + t.partials(static_cast<double>(model.hidden_size))};
          },
  };
}

/// Makes the kind known to this program; further calls do nothing.
inline void add_gated_mlp() {
  if (find_layer_kind('G')) return;
  add_layer_kind(gated_mlp_kind());
  add_layer_factory<float>(gated_mlp_symbol,
                           [](const ModelShape& shape, index_t index,
                              ParameterStore<float>& store) -> std::unique_ptr<Layer<float>> {
                             return std::make_unique<GatedMlp<float>>(shape, index, store);
                           });
  add_layer_factory<double>(gated_mlp_symbol,
                            [](const ModelShape& shape, index_t index,
                               ParameterStore<double>& store) -> std::unique_ptr<Layer<double>> {
                              return std::make_unique<GatedMlp<double>>(shape, index, store);
                            });
}

}  // namespace elastic::test
