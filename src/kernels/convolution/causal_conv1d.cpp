// SPDX-License-Identifier: Apache-2.0
// For any width, one work item owns some rows and `channels_of_block` channels. It keeps their taps
// (and, going backward, the last gradients of v) in local arrays and walks down the rows. Widths
// that models have are bodies of their own, which keep all in registers: lanes of a device, strips
// of a host. Parameter gradients are partial sums per block of rows, then their sum in rising order
// (on a device: by a tree).
#include "kernels/convolution/causal_conv1d.hpp"

#include "base/region.hpp"
#include "kernels/rows/row_loops.hpp"
#include "kernels/convolution/causal_conv1d_lanes.hpp"
#include "kernels/convolution/causal_conv1d_strips.hpp"

namespace elastic::kernels {
namespace {
constexpr index_t max_width = 8;
constexpr index_t channels_of_block = std::is_same_v<MemorySpace, HostSpace> ? 128 : 1;

/// What a work item knows: its rows, its channels, and their masked taps.
template <class T>
struct Block {
  using A = Accumulate<T>;
  index_t begin, end;      ///< rows in [T, *]; may cross from one sequence to the next
  index_t channel, count;  ///< first channel, number of channels
  A taps[max_width][channels_of_block], bias[channels_of_block], mask[channels_of_block];

  KOKKOS_INLINE_FUNCTION Block(index_t item, index_t tokens, index_t rows,
                               const View2<const T>& weight, const View1<const T>& b,
                               const View1<const A>& m) {
    const index_t channels = static_cast<index_t>(weight.extent(0)),
                  width = static_cast<index_t>(weight.extent(1));
    const index_t across = (channels + channels_of_block - 1) / channels_of_block;
    begin = item / across * rows;
    end = math::min(begin + rows, tokens);
    channel = item % across * channels_of_block;
    count = math::min(channels_of_block, channels - channel);
    for (index_t c = 0; c < channels_of_block; ++c) {
      mask[c] = c >= count ? A(0) : m.extent(0) == 0 ? A(1) : m(channel + c);
      bias[c] = c < count ? widen(b(channel + c)) : A(0);
      for (index_t j = 0; j < width; ++j)
        taps[j][c] = c < count ? widen(weight(channel + c, j)) : A(0);
    }
  }
  /// sum_j w_j u_{t-W+1+j} without masks.
  KOKKOS_INLINE_FUNCTION void convolve(const Signal<T>& in, index_t t, index_t width, index_t back,
                                       A* sum) const {
    for (index_t c = 0; c < channels_of_block; ++c) sum[c] = A(0);
    const T* const last = &in.u(t, channel);
    for (index_t j = width - 1 - back; j < width; ++j) {
      const T* row = in.before(last, t, width - 1 - j);
      if (count == channels_of_block) {
        ELASTIC_SIMD
        for (index_t c = 0; c < channels_of_block; ++c) sum[c] += taps[j][c] * widen(row[c]);
      } else {
        for (index_t c = 0; c < count; ++c) sum[c] += taps[j][c] * widen(row[c]);
      }
    }
  }
  /// dv = dout silu'(v) of one row, from the sum of convolve().
  KOKKOS_INLINE_FUNCTION void gradient_of_v(const T* dout_row, const A* sum, A* dv) const {
    A upstream[channels_of_block] = {};
    for (index_t c = 0; c < count; ++c) upstream[c] = widen(dout_row[c]);
    ELASTIC_SIMD
    for (index_t c = 0; c < channels_of_block; ++c) {
      dv[c] = gradient_by_v(upstream[c], sum[c], bias[c], mask[c]);
    }
  }
};

index_t num_items(index_t tokens, index_t channels) {
  return num_row_blocks(tokens) * ((channels + channels_of_block - 1) / channels_of_block);
}

/// The rows before or after spans: n <= W-1 of each of the B sequences, or none.
template <class T, class U>
void require_edge(const char* function, const char* argument, const ConvolutionInputs<T>& in,
                  const View2<const U>& rows, const View1<const token_t>& row_segment) {
  const auto count = static_cast<index_t>(rows.extent(0));
  if (count == 0) return;
  const index_t batch = static_cast<index_t>(in.u.extent(0)) / in.seq_length;
  ELASTIC_REQUIRE(
      batch > 0 && count % batch == 0 && count / batch < static_cast<index_t>(in.weight.extent(1)),
      "{}: {} rows of {} for {} sequences", function, count, argument, batch);
  require_shape(function, argument, rows, count, static_cast<index_t>(in.u.extent(1)));
  require_shape(function, "segment of an edge", row_segment, in.segment.extent(0) == 0 ? 0 : count);
}
template <class T>
void require_inputs(const char* function, const ConvolutionInputs<T>& in) {
  const auto tokens = static_cast<index_t>(in.u.extent(0)),
             channels = static_cast<index_t>(in.u.extent(1)),
             width = static_cast<index_t>(in.weight.extent(1));
  ELASTIC_REQUIRE(in.seq_length > 0 && tokens % in.seq_length == 0,
                  "{}: {} rows are no multiple of seq_length {}", function, tokens, in.seq_length);
  ELASTIC_REQUIRE(1 <= width && width <= max_width, "{}: width {} is not in [1, {}]", function,
                  width, max_width);
  require_shape(function, "weight", in.weight, channels, width);
  require_shape(function, "bias", in.bias, channels);
  require_shape_or_empty(function, "mask", in.mask, channels);
  require_shape_or_empty(function, "segment", in.segment, tokens);
  require_edge<T, T>(function, "past", in, in.past.u, in.past.segment);
}

/// The rows of partial sums: W of dweight, then dbias, then dmask, each `channels` wide.
template <class T>
struct Backward {
  using A = Accumulate<T>;
  Signal<T> in;
  View2<const T> dout, weight;
  View1<const T> bias;
  View1<const A> mask;
  ConvolutionFuture<T> future;
  index_t future_length;  ///< n
  View2<T> du;
  View2<A> partial;  // partial [row blocks * (W + 2), channels]

  KOKKOS_FUNCTION void operator()(const index_t item) const {
    const index_t tokens = static_cast<index_t>(in.u.extent(0)),
                  width = static_cast<index_t>(weight.extent(1));
    const Block<T> block(item, tokens, rows_per_block, weight, bias, mask);
    const index_t count = block.count;
    A dv[max_width][channels_of_block] = {};  // of the last W rows, row t in slot t % W
    A dtaps[max_width][channels_of_block] = {}, dbias[channels_of_block] = {},
      dmask[channels_of_block] = {};
    index_t reach[max_width] = {};  // inside the span
    const index_t stop = math::min(block.end + width - 1, tokens);
    for (index_t t = block.begin; t < block.end + width - 1; ++t) {
      const index_t slot = t % width;
      if (t < stop) {
        const index_t back = in.reach(t, width - 1);
        reach[slot] = math::min(back, t % in.length);
        A sum[channels_of_block];
        block.convolve(in, t, width, back, sum);
        block.gradient_of_v(&dout(t, block.channel), sum, dv[slot]);
        if (t < block.end) add_parameters(block, t, back, sum, dv[slot], dtaps, dbias, dmask);
      } else {
        reach[slot] = -1;
      }
      const index_t done = t - width + 1;  // all rows that see it are known
      if (done < block.begin || done >= block.end) continue;
      A sum[channels_of_block] = {};
      for (index_t s = 0; s < width; ++s) {
        const index_t from = (done + s) % width;
        if (reach[from] < s) continue;
        ELASTIC_SIMD
        for (index_t c = 0; c < channels_of_block; ++c)
          sum[c] += block.taps[width - 1 - s][c] * dv[from][c];
      }
      add_future(block, done, sum);
      T* target = &du(done, block.channel);
      for (index_t c = 0; c < count; ++c)
        store_rounded(target[c], block.mask[c] * block.mask[c] * sum[c]);
    }
    const index_t across =
        (static_cast<index_t>(weight.extent(0)) + channels_of_block - 1) / channels_of_block;
    const index_t first = item / across * (width + 2);
    for (index_t c = 0; c < count; ++c) {
      const A m = block.mask[c];
      for (index_t j = 0; j < width; ++j)
        partial(first + j, block.channel + c) = m * m * dtaps[j][c];
      partial(first + width, block.channel + c) = m * dbias[c];
      partial(first + width + 1, block.channel + c) = dmask[c];
    }
  }

 private:
  /// What row `done` gets from the rows after its span, in the order of a whole sequence.
  KOKKOS_INLINE_FUNCTION void add_future(const Block<T>& block, index_t done, A* sum) const {
    const index_t width = static_cast<index_t>(weight.extent(1)),
                  left = in.length - done % in.length;  // rows of the span from `done` on
    if (future_length == 0 || left >= width) return;
    const index_t first = done / in.length * future_length;
    if (!in.is_one_segment(done, left)) return;
    for (index_t s = left; s < math::min(width, left + future_length); ++s) {
      const index_t row = first + s - left;
      if (in.segment.extent(0) != 0 && future.segment(row) != in.segment(done)) return;
      const A* dv = &future.dv(row, block.channel);
      for (index_t c = 0; c < block.count; ++c) sum[c] += block.taps[width - 1 - s][c] * dv[c];
    }
  }
  /// A row's part of the parameter gradients.
  KOKKOS_INLINE_FUNCTION void add_parameters(const Block<T>& block, index_t t, index_t back,
                                             const A* sum, const A* dv,
                                             A (*dtaps)[channels_of_block], A* dbias,
                                             A* dmask) const {
    const index_t width = static_cast<index_t>(weight.extent(1)), count = block.count;
    ELASTIC_SIMD
    for (index_t c = 0; c < channels_of_block; ++c) {
      dbias[c] += dv[c];
      dmask[c] += dv[c] * (block.bias[c] + A(2) * block.mask[c] * sum[c]);
    }
    const T* const last = &in.u(t, block.channel);
    for (index_t j = width - 1 - back; j < width; ++j) {
      const T* row = in.before(last, t, width - 1 - j);
      if (count == channels_of_block) {
        ELASTIC_SIMD
        for (index_t c = 0; c < channels_of_block; ++c) dtaps[j][c] += dv[c] * widen(row[c]);
      } else {
        for (index_t c = 0; c < count; ++c) dtaps[j][c] += dv[c] * widen(row[c]);
      }
    }
  }
};

/// Calls body with the width as a constant, if there are lanes (on a device) or strips for it.
template <class T, class F>
bool with_constant_width([[maybe_unused]] index_t width, [[maybe_unused]] index_t channels,
                         [[maybe_unused]] const F& body) {
#ifdef ELASTIC_HOST_VECTORS
  if (on_host && channels < vector_length<Accumulate<T>>) return false;
#else
  if constexpr (on_host) return false;
#endif
  if (width == 2) body(std::integral_constant<int, 2>());
  if (width == 3) body(std::integral_constant<int, 3>());
  if (width == 4) body(std::integral_constant<int, 4>());
  return 2 <= width && width <= 4;
}
template <class Lanes>
void for_lanes(const ExecutionSpace& exec, const char* label, index_t tokens, index_t channels,
               const Lanes& lanes) {
  const index_t across = (channels + Lanes::channels - 1) / Lanes::channels;
  Kokkos::parallel_for(label, LinearPolicy(exec, 0, num_row_blocks(tokens) * across), lanes);
}
#ifdef ELASTIC_HOST_VECTORS
template <class Strips>
void for_strips(const ExecutionSpace& exec, const char* label, index_t tokens, index_t channels,
                const Strips& strips) {
  const index_t items = num_row_blocks(tokens) * StripItem::runs(channels);
  Kokkos::parallel_for(label, LinearPolicy(exec, 0, items), strips);
}
#endif
template <class T>
bool forward_in_registers(const ExecutionSpace& exec, const ConvolutionInputs<T>& in,
                          const Signal<T>& signal, const View2<T>& out) {
  const auto tokens = static_cast<index_t>(in.u.extent(0)),
             channels = static_cast<index_t>(in.u.extent(1));
  const char* label = "elastic::causal_conv1d_forward";
  const auto width = static_cast<index_t>(in.weight.extent(1));
  return with_constant_width<T>(width, channels, [&](auto constant) {
    constexpr int W = decltype(constant)::value;
    if constexpr (!on_host) {
      using Lanes = ForwardLanes<T, W>;
      const bool aligned = lanes_are_aligned<T, Lanes::channels>(in.u, out);
      for_lanes(exec, label, tokens, channels,
                Lanes{signal, in.weight, in.bias, in.mask, out, aligned});
    }
#ifdef ELASTIC_HOST_VECTORS
    else if (in.mask.extent(0) != 0) {
      for_strips(exec, label, tokens, channels,
                 ForwardStrips<T, W, true>{signal, in.weight, in.bias, in.mask, out});
    } else {
      for_strips(exec, label, tokens, channels,
                 ForwardStrips<T, W, false>{signal, in.weight, in.bias, in.mask, out});
    }
#endif
  });
}
template <class T>
bool backward_in_registers(const ExecutionSpace& exec, const Backward<T>& b,
                           [[maybe_unused]] bool masked) {
  const auto tokens = static_cast<index_t>(b.du.extent(0)),
             channels = static_cast<index_t>(b.du.extent(1));
  const char* label = "elastic::causal_conv1d_backward";
  const auto width = static_cast<index_t>(b.weight.extent(1));
  return with_constant_width<T>(width, channels, [&](auto constant) {
    constexpr int W = decltype(constant)::value;
    if constexpr (!on_host) {
      using Lanes = BackwardLanes<T, W>;
      const bool aligned = lanes_are_aligned<T, Lanes::channels>(b.in.u, b.dout, b.du);
      for_lanes(exec, label, tokens, channels,
                Lanes{b.in, b.dout, b.weight, b.bias, b.mask, b.future, b.future_length, b.du,
                      b.partial, aligned});
    }
#ifdef ELASTIC_HOST_VECTORS
    else if (masked) {
      for_strips(exec, label, tokens, channels,
                 BackwardStrips<T, W, true>{b.in, b.dout, b.weight, b.bias, b.mask, b.future,
                                            b.future_length, b.du, b.partial});
    } else {
      for_strips(exec, label, tokens, channels,
                 BackwardStrips<T, W, false>{b.in, b.dout, b.weight, b.bias, b.mask, b.future,
                                             b.future_length, b.du, b.partial});
    }
#endif
  });
}

/// The partial sums as a matrix: block by block, column j * channels + c.
template <class A>
struct Partial {
  View2<A> sums;  ///< [row blocks * (W + 2), channels]
  index_t width, channels;

  index_t blocks() const { return static_cast<index_t>(sums.extent(0)) / (width + 2); }
  KOKKOS_INLINE_FUNCTION void operator()(index_t block, index_t j, int count, Pack<A>& sum) const {
    const Pack<A> terms =
        load_pack(sums.data() + block * (width + 2) * channels + j, count, channels % 4 == 0);
    for (int i = 0; i < pack_size; ++i) sum[i] += terms[i];
  }
};
/// Where the sum of such a column belongs.
template <class T>
struct ParameterGradients {
  using A = Accumulate<T>;
  View2<A> dweight;
  View1<A> dbias, dmask;

  KOKKOS_INLINE_FUNCTION void add(index_t j, index_t c, A sum) const {
    const auto width = static_cast<index_t>(dweight.extent(1));
    if (j < width) dweight(c, j) += sum;
    if (j == width) dbias(c) += sum;
    if (j == width + 1 && dmask.extent(0) != 0) dmask(c) += sum;
  }
  KOKKOS_INLINE_FUNCTION void operator()(index_t column, A sum) const {
    const auto channels = static_cast<index_t>(dweight.extent(0));
    add(column / channels, column % channels, sum);
  }
};
/// The gradients of a channel on a host: blocks in rising order.
template <class T>
struct ChannelSums {
  Partial<Accumulate<T>> partial;
  ParameterGradients<T> gradients;

  KOKKOS_FUNCTION void operator()(const index_t c) const {
    const index_t rows = partial.width + 2, count = static_cast<index_t>(partial.sums.extent(0));
    for (index_t j = 0; j < rows; ++j) {
      Accumulate<T> sum = 0;
      for (index_t row = j; row < count; row += rows) sum += partial.sums(row, c);
      gradients.add(j, c, sum);
    }
  }
};
template <class T>
void add_parameter_gradients(const ExecutionSpace& exec, const Partial<Accumulate<T>>& partial,
                             const ConvolutionGradients<T>& gradients) {
  using A = Accumulate<T>;
  const char* label = "elastic::causal_conv1d_parameters";
  const ParameterGradients<T> into{gradients.dweight, gradients.dbias, gradients.dmask};
  if constexpr (on_host)
    Kokkos::parallel_for(label, LinearPolicy(exec, 0, partial.channels),
                         ChannelSums<T>{partial, into});
  else
    for_column_sums<A, Partial<A>, ParameterGradients<T>>(
        exec, label,
        {partial.blocks(), math::max<index_t>(partial.blocks(), 1),
         (partial.width + 2) * partial.channels, partial, into});
}
}  // namespace

template <class T>
void causal_conv1d_forward(const ExecutionSpace& exec, const ConvolutionInputs<T>& in,
                           InOut2<T> out) {
  const auto tokens = static_cast<index_t>(in.u.extent(0)),
             channels = static_cast<index_t>(in.u.extent(1)),
             width = static_cast<index_t>(in.weight.extent(1));
  require_inputs("causal_conv1d_forward", in);
  require_shape("causal_conv1d_forward", "out", out, tokens, channels);
  const Signal<T> signal(in);
  add_flops(2.0 * tokens * channels * width);
  if (forward_in_registers<T>(exec, in, signal, out)) return;
  Kokkos::parallel_for(
      "elastic::causal_conv1d_forward", LinearPolicy(exec, 0, num_items(tokens, channels)),
      KOKKOS_LAMBDA(const index_t item) {
        const Block<T> block(item, tokens, rows_per_block, in.weight, in.bias, in.mask);
        Accumulate<T> v[channels_of_block];
        for (index_t t = block.begin; t < block.end; ++t) {
          block.convolve(signal, t, width, signal.reach(t, width - 1), v);
          ELASTIC_SIMD
          for (index_t c = 0; c < channels_of_block; ++c) {
            v[c] = activated(v[c], block.bias[c], block.mask[c]);
          }
          T* target = &out(t, block.channel);
          for (index_t c = 0; c < block.count; ++c) store_rounded(target[c], v[c]);
        }
      });
}

template <class T>
void causal_conv1d_backward(const ExecutionSpace& exec, const ConvolutionInputs<T>& in, In2<T> dout,
                            const ConvolutionFuture<T>& future,
                            const ConvolutionGradients<T>& gradients,
                            InOut1<Accumulate<T>> workspace) {
  const auto tokens = static_cast<index_t>(in.u.extent(0)),
             channels = static_cast<index_t>(in.u.extent(1)),
             width = static_cast<index_t>(in.weight.extent(1));
  const char* name = "causal_conv1d_backward";
  require_inputs(name, in);
  require_edge<T, Accumulate<T>>(name, "future", in, future.dv, future.segment);
  require_shape(name, "dout", dout, tokens, channels);
  require_shape(name, "du", gradients.du, tokens, channels);
  require_shape(name, "dweight", gradients.dweight, channels, width);
  require_shape(name, "dbias", gradients.dbias, channels);
  require_shape_or_empty(name, "dmask", gradients.dmask, channels);
  const index_t blocks = num_row_blocks(tokens), needed = blocks * (width + 2) * channels;
  ELASTIC_REQUIRE(static_cast<index_t>(workspace.extent(0)) >= needed,
                  "{}: workspace has {} of {} elements", name, workspace.extent(0), needed);
  const View2<Accumulate<T>> partial(workspace.data(), blocks * (width + 2), channels);
  const index_t future_length =
      static_cast<index_t>(future.dv.extent(0)) * in.seq_length / math::max<index_t>(1, tokens);
  const Backward<T> kernel{Signal<T>(in), dout,          in.weight,    in.bias, in.mask,
                           future,        future_length, gradients.du, partial};
  if (!backward_in_registers(exec, kernel, in.mask.size() + gradients.dmask.size() > 0))
    Kokkos::parallel_for("elastic::causal_conv1d_backward",
                         LinearPolicy(exec, 0, num_items(tokens, channels)), kernel);
  add_parameter_gradients<T>(exec, {partial, width, channels}, gradients);
  add_flops(6.0 * tokens * channels * width);  // v again, du and dweight
}

template <class T>
void causal_conv1d_first_gradients(const ExecutionSpace& exec, const ConvolutionInputs<T>& in,
                                   In2<T> dout, InOut2<Accumulate<T>> dv) {
  const auto tokens = static_cast<index_t>(in.u.extent(0)),
             channels = static_cast<index_t>(in.u.extent(1)),
             width = static_cast<index_t>(in.weight.extent(1));
  const char* name = "causal_conv1d_first_gradients";
  require_inputs(name, in);
  require_shape(name, "dout", dout, tokens, channels);
  const index_t length = in.seq_length, batch = tokens / length,
                rows = static_cast<index_t>(dv.extent(0)),
                count = rows / math::max<index_t>(1, batch);
  ELASTIC_REQUIRE(rows == count * batch && count <= length, "{}: dv has {} rows for {} sequences",
                  name, rows, batch);
  require_shape(name, "dv", dv, rows, channels);
  if (count == 0) return;
  const index_t across = (channels + channels_of_block - 1) / channels_of_block;
  const Signal<T> signal(in);
  Kokkos::parallel_for(
      "elastic::causal_conv1d_first_gradients", LinearPolicy(exec, 0, batch * across),
      KOKKOS_LAMBDA(const index_t item) {
        const Block<T> block(item, rows, count, in.weight, in.bias, in.mask);
        for (index_t i = block.begin; i < block.end; ++i) {
          const index_t t = i / count * length + i % count;
          Accumulate<T> sum[channels_of_block], gradient[channels_of_block];
          block.convolve(signal, t, width, signal.reach(t, width - 1), sum);
          block.gradient_of_v(&dout(t, block.channel), sum, gradient);
          Accumulate<T>* target = &dv(i, block.channel);
          for (index_t c = 0; c < block.count; ++c) target[c] = gradient[c];
        }
      });
}

index_t causal_conv1d_workspace_size(index_t tokens, index_t channels, index_t width) {
  return num_row_blocks(tokens) * (width + 2) * channels;
}

template <class T>
void causal_conv1d_step(const ExecutionSpace& exec, In2<T> u, In2<T> weight, In1<T> bias,
                        InOut2<T> state, InOut2<T> out) {
  const auto batch = static_cast<index_t>(u.extent(0)),
             channels = static_cast<index_t>(u.extent(1));
  const auto width = static_cast<index_t>(weight.extent(1));
  require_inputs<T>("causal_conv1d_step",
                    {.u = u, .weight = weight, .bias = bias, .seq_length = 1});
  require_shape("causal_conv1d_step", "state", state, batch, channels * (width - 1));
  require_shape("causal_conv1d_step", "out", out, batch, channels);
  const index_t across = (channels + channels_of_block - 1) / channels_of_block;
  Kokkos::parallel_for(
      "elastic::causal_conv1d_step", LinearPolicy(exec, 0, batch * across),
      KOKKOS_LAMBDA(const index_t item) {
        const index_t b = item / across, channel = item % across * channels_of_block,
                      count = math::min(channels_of_block, channels - channel);
        Accumulate<T> v[channels_of_block] = {};
        for (index_t i = 0; i < count; ++i) {
          const index_t c = channel + i, first = c * (width - 1);
          Accumulate<T> sum = 0;
          for (index_t j = 0; j + 1 < width; ++j)
            sum += widen(weight(c, j)) * widen(state(b, first + j));
          sum += widen(weight(c, width - 1)) * widen(u(b, c));
          v[i] = widen(bias(c)) + sum;
          for (index_t j = 0; j + 2 < width; ++j) state(b, first + j) = state(b, first + j + 1);
          if (width > 1) state(b, first + width - 2) = u(b, c);
        }
        ELASTIC_SIMD
        for (index_t i = 0; i < channels_of_block; ++i) v[i] *= vector_sigmoid(v[i]);
        for (index_t i = 0; i < count; ++i) store_rounded(out(b, channel + i), v[i]);
      });
  add_flops(2.0 * batch * channels * width);
}

#define ELASTIC_INSTANTIATE(T)                                                                    \
  template void causal_conv1d_forward<T>(const ExecutionSpace&, const ConvolutionInputs<T>&,      \
                                         InOut2<T>);                                              \
  template void causal_conv1d_backward<T>(const ExecutionSpace&, const ConvolutionInputs<T>&,     \
                                          In2<T>, const ConvolutionFuture<T>&,                    \
                                          const ConvolutionGradients<T>&, InOut1<Accumulate<T>>); \
  template void causal_conv1d_first_gradients<T>(                                                 \
      const ExecutionSpace&, const ConvolutionInputs<T>&, In2<T>, InOut2<Accumulate<T>>);         \
  template void causal_conv1d_step<T>(const ExecutionSpace&, In2<T>, In2<T>, In1<T>, InOut2<T>,   \
                                      InOut2<T>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
