// SPDX-License-Identifier: Apache-2.0
// One work item owns some rows of one sequence and `width_of_block` channels; it keeps their taps
// (and, going backward, the last gradients of v) in local arrays and walks down the rows. Parameter
// gradients: partial sums per block of rows, then their sum in rising order.
#include "kernels/causal_conv1d.hpp"

#include "base/region.hpp"
#include "base/shapes.hpp"
#include "kernels/vector_exp.hpp"

namespace elastic::kernels {
namespace {
constexpr index_t max_width = 8;
constexpr index_t rows_of_block = 64;
constexpr index_t channels_of_block = std::is_same_v<MemorySpace, HostSpace> ? 128 : 1;

/// What a work item knows: its rows, its channels, their masked taps.
template <class S>
struct Block {
  index_t length;          ///< L
  index_t begin, end;      ///< rows in [T, *]; may cross from one sequence to the next
  index_t channel, count;  ///< first channel, number of channels
  S taps[max_width][channels_of_block], bias[channels_of_block], mask[channels_of_block];

  KOKKOS_INLINE_FUNCTION Block(index_t item, index_t seq_length, const View2<const S>& u,
                               const View2<const S>& weight, const View1<const S>& b,
                               const View1<const S>& m) {
    const index_t tokens = static_cast<index_t>(u.extent(0)),
                  channels = static_cast<index_t>(u.extent(1));
    const index_t across = (channels + channels_of_block - 1) / channels_of_block;
    length = seq_length;
    begin = item / across * rows_of_block;
    end = math::min(begin + rows_of_block, tokens);
    channel = item % across * channels_of_block;
    count = math::min(channels_of_block, channels - channel);
    const index_t width = static_cast<index_t>(weight.extent(1));
    for (index_t c = 0; c < channels_of_block; ++c) {
      mask[c] = c >= count ? S(0) : m.extent(0) == 0 ? S(1) : m(channel + c);
      bias[c] = c < count ? b(channel + c) : S(0);
      for (index_t j = 0; j < width; ++j) taps[j][c] = c < count ? weight(channel + c, j) : S(0);
    }
  }
  /// Number of positions before row t, at most `most`, that it sees.
  KOKKOS_INLINE_FUNCTION index_t reach(index_t t, index_t most,
                                       const View1<const token_t>& segment) const {
    index_t back = math::min(most, t % length);
    if (segment.extent(0) != 0)
      for (index_t s = 1; s <= back; ++s)
        if (segment(t - s) != segment(t)) back = s - 1;
    return back;
  }
  /// sum_j w_j u_{t-W+1+j} without masks; u is the address of channel 0 of this block at row t.
  KOKKOS_INLINE_FUNCTION void convolve(const S* u, index_t ld, index_t width, index_t back,
                                       S* sum) const {
    for (index_t c = 0; c < channels_of_block; ++c) sum[c] = S(0);
    for (index_t j = width - 1 - back; j < width; ++j) {
      const S* row = u - (width - 1 - j) * ld;
      if (count == channels_of_block) {
        ELASTIC_SIMD
        for (index_t c = 0; c < channels_of_block; ++c) sum[c] += taps[j][c] * row[c];
      } else {
        for (index_t c = 0; c < count; ++c) sum[c] += taps[j][c] * row[c];
      }
    }
  }
};

index_t num_row_blocks(index_t tokens) { return (tokens + rows_of_block - 1) / rows_of_block; }
index_t num_items(index_t tokens, index_t channels) {
  return num_row_blocks(tokens) * ((channels + channels_of_block - 1) / channels_of_block);
}

template <class S>
void require_conv(const char* function, const View2<const S>& u, const View2<const S>& weight,
                  const View1<const S>& bias, const View1<const S>& mask,
                  const View1<const token_t>& segment, index_t length) {
  const auto tokens = static_cast<index_t>(u.extent(0)),
             channels = static_cast<index_t>(u.extent(1));
  const auto width = static_cast<index_t>(weight.extent(1));
  ELASTIC_REQUIRE(length > 0 && tokens % length == 0,
                  "{}: {} rows are no multiple of seq_length {}", function, tokens, length);
  ELASTIC_REQUIRE(1 <= width && width <= max_width, "{}: width {} is not in [1, {}]", function,
                  width, max_width);
  require_shape(function, "weight", weight, channels, width);
  require_shape(function, "bias", bias, channels);
  require_shape_or_empty(function, "mask", mask, channels);
  require_shape_or_empty(function, "segment", segment, tokens);
}

/// The rows of partial sums: W of dweight, then dbias, then dmask, each `channels` wide.
template <class S>
struct Backward {
  View2<const S> dout, u, weight;
  View1<const S> bias, mask;
  View1<const token_t> segment;
  index_t length;
  View2<S> du, partial;  // partial [row blocks * (W + 2), channels]

  KOKKOS_FUNCTION void operator()(const index_t item) const {
    const Block<S> block(item, length, u, weight, bias, mask);
    const index_t width = static_cast<index_t>(weight.extent(1)), count = block.count;
    S dv[max_width][channels_of_block] = {};  // of the last W rows, row t in slot t % W
    S dtaps[max_width][channels_of_block] = {}, dbias[channels_of_block] = {},
      dmask[channels_of_block] = {};
    index_t reach[max_width] = {};
    const index_t stop = math::min(block.end + width - 1, static_cast<index_t>(u.extent(0)));
    for (index_t t = block.begin; t < block.end + width - 1; ++t) {
      const index_t slot = t % width;
      if (t < stop) {
        reach[slot] = block.reach(t, width - 1, segment);
        gradient_of_v(block, t, reach[slot], dv[slot], t < block.end, dtaps, dbias, dmask);
      } else {
        reach[slot] = -1;
      }
      const index_t done = t - width + 1;  // all rows that see it are known
      if (done < block.begin || done >= block.end) continue;
      S sum[channels_of_block] = {};
      for (index_t s = 0; s < width; ++s) {
        const index_t from = (done + s) % width;
        if (reach[from] < s) continue;
        ELASTIC_SIMD
        for (index_t c = 0; c < channels_of_block; ++c)
          sum[c] += block.taps[width - 1 - s][c] * dv[from][c];
      }
      S* target = &du(done, block.channel);
      for (index_t c = 0; c < count; ++c) target[c] = block.mask[c] * block.mask[c] * sum[c];
    }
    const index_t across =
        (static_cast<index_t>(u.extent(1)) + channels_of_block - 1) / channels_of_block;
    const index_t first = item / across * (width + 2);
    for (index_t c = 0; c < count; ++c) {
      const S m = block.mask[c];
      for (index_t j = 0; j < width; ++j)
        partial(first + j, block.channel + c) = m * m * dtaps[j][c];
      partial(first + width, block.channel + c) = m * dbias[c];
      partial(first + width + 1, block.channel + c) = dmask[c];
    }
  }

 private:
  /// dv = dout silu'(v) at row t, and its part of the parameter gradients if this block owns the
  /// row.
  KOKKOS_INLINE_FUNCTION void gradient_of_v(const Block<S>& block, index_t t, index_t back, S* dv,
                                            bool owned, S (*dtaps)[channels_of_block], S* dbias,
                                            S* dmask) const {
    const index_t width = static_cast<index_t>(weight.extent(1)), ld = leading_dimension(u),
                  count = block.count;
    const S* u_row = &u(t, block.channel);
    const S* dout_row = &dout(t, block.channel);
    S sum[channels_of_block], upstream[channels_of_block] = {};
    block.convolve(u_row, ld, width, back, sum);
    for (index_t c = 0; c < count; ++c) upstream[c] = dout_row[c];
    ELASTIC_SIMD
    for (index_t c = 0; c < channels_of_block; ++c) {
      const S m = block.mask[c], v = m * (block.bias[c] + m * sum[c]), sigmoid = vector_sigmoid(v);
      dv[c] = upstream[c] * sigmoid * (S(1) + v * (S(1) - sigmoid));
    }
    if (!owned) return;
    ELASTIC_SIMD
    for (index_t c = 0; c < channels_of_block; ++c) {
      dbias[c] += dv[c];
      dmask[c] += dv[c] * (block.bias[c] + S(2) * block.mask[c] * sum[c]);
    }
    for (index_t j = width - 1 - back; j < width; ++j) {
      const S* row = u_row - (width - 1 - j) * ld;
      if (count == channels_of_block) {
        ELASTIC_SIMD
        for (index_t c = 0; c < channels_of_block; ++c) dtaps[j][c] += dv[c] * row[c];
      } else {
        for (index_t c = 0; c < count; ++c) dtaps[j][c] += dv[c] * row[c];
      }
    }
  }
};
}  // namespace

template <class S>
void causal_conv1d_forward(const ExecutionSpace& exec, In2<S> u, In2<S> weight, In1<S> bias,
                           In1<S> mask, In1<token_t> segment, const CausalConv1dParams& params,
                           InOut2<S> out) {
  const auto tokens = static_cast<index_t>(u.extent(0)),
             channels = static_cast<index_t>(u.extent(1));
  const index_t length = params.seq_length, width = static_cast<index_t>(weight.extent(1));
  require_conv<S>("causal_conv1d_forward", u, weight, bias, mask, segment, length);
  require_shape("causal_conv1d_forward", "out", out, tokens, channels);
  Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<index_t>> policy(
      exec, 0, num_items(tokens, channels));
  Kokkos::parallel_for(
      "elastic::causal_conv1d_forward", policy, KOKKOS_LAMBDA(const index_t item) {
        const Block<S> block(item, length, u, weight, bias, mask);
        S v[channels_of_block];
        for (index_t t = block.begin; t < block.end; ++t) {
          const index_t back = block.reach(t, width - 1, segment);
          block.convolve(&u(t, block.channel), leading_dimension(u), width, back, v);
          ELASTIC_SIMD
          for (index_t c = 0; c < channels_of_block; ++c) {
            v[c] = block.mask[c] * (block.bias[c] + block.mask[c] * v[c]);
            v[c] *= vector_sigmoid(v[c]);
          }
          S* target = &out(t, block.channel);
          for (index_t c = 0; c < block.count; ++c) target[c] = v[c];
        }
      });
  add_flops(2.0 * tokens * channels * width);
}

template <class S>
void causal_conv1d_backward(const ExecutionSpace& exec, In2<S> dout, In2<S> u, In2<S> weight,
                            In1<S> bias, In1<S> mask, In1<token_t> segment,
                            const CausalConv1dParams& params, InOut2<S> du, InOut2<S> dweight,
                            InOut1<S> dbias, InOut1<S> dmask, InOut1<S> workspace) {
  const auto tokens = static_cast<index_t>(u.extent(0)),
             channels = static_cast<index_t>(u.extent(1));
  const auto width = static_cast<index_t>(weight.extent(1));
  const char* name = "causal_conv1d_backward";
  require_conv<S>(name, u, weight, bias, mask, segment, params.seq_length);
  require_shape(name, "dout", dout, tokens, channels);
  require_shape(name, "du", du, tokens, channels);
  require_shape(name, "dweight", dweight, channels, width);
  require_shape(name, "dbias", dbias, channels);
  require_shape_or_empty(name, "dmask", dmask, channels);
  const index_t blocks = num_row_blocks(tokens), needed = blocks * (width + 2) * channels;
  ELASTIC_REQUIRE(static_cast<index_t>(workspace.extent(0)) >= needed,
                  "{}: workspace has {} of {} elements", name, workspace.extent(0), needed);
  const View2<S> partial(workspace.data(), blocks * (width + 2), channels);
  using Policy = Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<index_t>>;
  Kokkos::parallel_for(
      "elastic::causal_conv1d_backward", Policy(exec, 0, num_items(tokens, channels)),
      Backward<S>{dout, u, weight, bias, mask, segment, params.seq_length, du, partial});
  const bool with_mask = dmask.extent(0) != 0;
  Kokkos::parallel_for(
      "elastic::causal_conv1d_parameters", Policy(exec, 0, channels),
      KOKKOS_LAMBDA(const index_t c) {
        for (index_t j = 0; j < width + 2; ++j) {
          S sum = 0;
          for (index_t block = 0; block < blocks; ++block)
            sum += partial(block * (width + 2) + j, c);
          if (j < width) dweight(c, j) += sum;
          if (j == width) dbias(c) += sum;
          if (j == width + 1 && with_mask) dmask(c) += sum;
        }
      });
  add_flops(6.0 * tokens * channels * width);  // v again, du and dweight
}

index_t causal_conv1d_workspace_size(index_t tokens, index_t channels, index_t width) {
  return num_row_blocks(tokens) * (width + 2) * channels;
}

template <class S>
void causal_conv1d_step(const ExecutionSpace& exec, In2<S> u, In2<S> weight, In1<S> bias,
                        InOut2<S> state, InOut2<S> out) {
  const auto batch = static_cast<index_t>(u.extent(0)),
             channels = static_cast<index_t>(u.extent(1));
  const auto width = static_cast<index_t>(weight.extent(1));
  require_conv<S>("causal_conv1d_step", u, weight, bias, {}, {}, 1);
  require_shape("causal_conv1d_step", "state", state, batch, channels * (width - 1));
  require_shape("causal_conv1d_step", "out", out, batch, channels);
  const index_t across = (channels + channels_of_block - 1) / channels_of_block;
  Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<index_t>> policy(exec, 0, batch * across);
  Kokkos::parallel_for(
      "elastic::causal_conv1d_step", policy, KOKKOS_LAMBDA(const index_t item) {
        const index_t b = item / across, channel = item % across * channels_of_block,
                      count = math::min(channels_of_block, channels - channel);
        S v[channels_of_block] = {};
        for (index_t i = 0; i < count; ++i) {
          const index_t c = channel + i, first = c * (width - 1);
          S sum = 0;
          for (index_t j = 0; j + 1 < width; ++j) sum += weight(c, j) * state(b, first + j);
          sum += weight(c, width - 1) * u(b, c);
          v[i] = bias(c) + sum;
          for (index_t j = 0; j + 2 < width; ++j) state(b, first + j) = state(b, first + j + 1);
          if (width > 1) state(b, first + width - 2) = u(b, c);
        }
        ELASTIC_SIMD
        for (index_t i = 0; i < channels_of_block; ++i) v[i] *= vector_sigmoid(v[i]);
        for (index_t i = 0; i < count; ++i) out(b, channel + i) = v[i];
      });
  add_flops(2.0 * batch * channels * width);
}

#define ELASTIC_INSTANTIATE(S)                                                                    \
  template void causal_conv1d_forward<S>(const ExecutionSpace&, In2<S>, In2<S>, In1<S>, In1<S>,   \
                                         In1<token_t>, const CausalConv1dParams&, InOut2<S>);     \
  template void causal_conv1d_backward<S>(const ExecutionSpace&, In2<S>, In2<S>, In2<S>, In1<S>,  \
                                          In1<S>, In1<token_t>, const CausalConv1dParams&,        \
                                          InOut2<S>, InOut2<S>, InOut1<S>, InOut1<S>, InOut1<S>); \
  template void causal_conv1d_step<S>(const ExecutionSpace&, In2<S>, In2<S>, In1<S>, InOut2<S>,   \
                                      InOut2<S>);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
