// SPDX-License-Identifier: Apache-2.0
// The convolution on a device, for the widths that models have: a lane owns a block of rows and a
// few neighbouring channels, whose taps and last W inputs it keeps in registers, for which the
// compiler must know W. It asks for the inputs of four rows before it computes one.
// Internal to kernels/convolution/causal_conv1d.cpp.
#pragma once
#include <utility>

#include "kernels/rows/column_sums.hpp"
#include "kernels/rows/vector_exp.hpp"
#include "kernels/convolution/causal_conv1d.hpp"

namespace elastic::kernels {

/// The inputs that rows see: those of their sequence in u, and before these those of the past.
template <class T>
struct Signal {
  View2<const T> u;
  View1<const token_t> segment;
  index_t length;  ///< L
  View2<const T> past;
  View1<const token_t> past_segment;
  index_t past_length;  ///< n

  explicit Signal(const ConvolutionInputs<T>& in)
      : u(in.u),
        segment(in.segment),
        length(in.seq_length),
        past(in.past.u),
        past_segment(in.past.segment),
        past_length(static_cast<index_t>(past.extent(0)) * length /
                    math::max<index_t>(1, static_cast<index_t>(u.extent(0)))) {}

  /// The row of the past that lies `back` positions before row t, which is at `position` < back.
  KOKKOS_INLINE_FUNCTION index_t past_row(index_t t, index_t position, index_t back) const {
    return (t / length + 1) * past_length + position - back;
  }
  /// The number of positions before row t (at t mod L) that it sees, at most `most`.
  KOKKOS_INLINE_FUNCTION index_t reach(index_t t, index_t position, index_t most) const {
    const index_t inside = math::min(most, position), all = math::min(most, position + past_length);
    if (segment.extent(0) == 0) return all;
    for (index_t s = 1; s <= inside; ++s)
      if (segment(t - s) != segment(t)) return s - 1;
    for (index_t s = inside + 1; s <= all; ++s)
      if (past_segment(past_row(t, position, s)) != segment(t)) return s - 1;
    return all;
  }
  KOKKOS_INLINE_FUNCTION index_t reach(index_t t, index_t most) const {
    return reach(t, t % length, most);
  }
  /// Whether rows [t, t + count), all of one span, are of one segment.
  KOKKOS_INLINE_FUNCTION bool is_one_segment(index_t t, index_t count) const {
    if (segment.extent(0) == 0) return true;
    for (index_t s = 1; s < count; ++s)
      if (segment(t + s) != segment(t)) return false;
    return true;
  }
  /// `row`, which points into row t of u, moved back by `back` <= reach positions.
  KOKKOS_INLINE_FUNCTION const T* before(const T* row, index_t t, index_t back) const {
    if (past_length == 0 || back <= t % length) return row - back * leading_dimension(u);
    return &past(past_row(t, t % length, back), row - &u(t, 0));
  }
};

/// out = silu(v), v = m (b + m sum) of one element.
template <class A>
KOKKOS_INLINE_FUNCTION A activated(A sum, A b, A m) {
  const A v = m * (b + m * sum);
  return v * vector_sigmoid(v);
}
/// dout silu'(v).
template <class A>
KOKKOS_INLINE_FUNCTION A gradient_by_v(A dout, A sum, A b, A m) {
  const A v = m * (b + m * sum), sigmoid = vector_sigmoid(v);
  return dout * sigmoid * (A(1) + v * (A(1) - sigmoid));
}

/// Neighbouring channels of a row, in one access where rows are aligned.
template <class T, int n>
struct alignas(n * sizeof(T)) LaneValues {
  T value[n];

  KOKKOS_INLINE_FUNCTION static LaneValues load(const T* from, int count, bool aligned) {
    if (aligned && count == n) return *reinterpret_cast<const LaneValues*>(from);
    LaneValues values;
    for (int c = 0; c < n; ++c) values.value[c] = c < count ? from[c] : T(0);
    return values;
  }
  KOKKOS_INLINE_FUNCTION static void store(T* to, const Accumulate<T>* sum, int count,
                                           bool aligned) {
    LaneValues values;
    for (int c = 0; c < n; ++c) store_rounded(values.value[c], sum[c]);
    if (aligned && count == n)
      *reinterpret_cast<LaneValues*>(to) = values;
    else
      for (int c = 0; c < n; ++c)
        if (c < count) to[c] = values.value[c];
  }
};
/// Whether every lane's values begin at a multiple of their size, in all rows of the Views.
template <class T, int n, class... View>
bool lanes_are_aligned(const View&... views) {
  constexpr std::uintptr_t bytes = sizeof(LaneValues<T, n>);
  return ((reinterpret_cast<std::uintptr_t>(views.data()) % bytes == 0 &&
           views.stride(0) * sizeof(T) % bytes == 0) &&
          ...);
}

/// A number that the compiler knows; std::integral_constant is not for devices.
template <int number>
struct Constant {
  KOKKOS_INLINE_FUNCTION constexpr operator int() const { return number; }
};
template <class F, int... r>
KOKKOS_INLINE_FUNCTION void for_constants(std::integer_sequence<int, r...>, const F& body) {
  (body(Constant<r>()), ...);
}
/// body(0), .., body(count - 1), on a device with constants, so that what they index stays in
/// registers; on a processor in one loop, whose iterations round alike.
template <int count, class F>
KOKKOS_INLINE_FUNCTION void for_rows_ahead(const F& body) {
  if constexpr (std::is_same_v<MemorySpace, HostSpace>)
    for (int r = 0; r < count; ++r) body(r);
  else
    for_constants(std::make_integer_sequence<int, count>(), body);
}

/// What a lane keeps: its block of rows, its channels and their taps, and the inputs of the rows
/// [t - W + 1, t + rows_ahead).
template <class T, int W, int n>
struct Lane {
  using A = Accumulate<T>;
  static constexpr int rows_ahead = 4;
  index_t begin, end, channel;
  int count;
  bool aligned;
  A taps[W][n], bias[n], mask[n];
  LaneValues<T, n> window[W - 1 + rows_ahead];

  KOKKOS_INLINE_FUNCTION Lane(index_t item, const Signal<T>& in, const View2<const T>& weight,
                              const View1<const T>& b, const View1<const A>& m, bool aligned_)
      : aligned(aligned_) {
    const index_t channels = static_cast<index_t>(weight.extent(0)),
                  across = (channels + n - 1) / n;
    begin = item / across * rows_per_block;
    end = math::min(begin + rows_per_block, static_cast<index_t>(in.u.extent(0)));
    channel = item % across * n;
    count = static_cast<int>(math::min<index_t>(n, channels - channel));
    for (int c = 0; c < n; ++c) {
      const index_t own = channel + (c < count ? c : 0);
      mask[c] = m.extent(0) == 0 ? A(1) : m(own);
      bias[c] = widen(b(own));
      for (int j = 0; j < W; ++j) taps[j][c] = widen(weight(own, j));
    }
    for (int i = 0; i < W - 1; ++i) window[i] = row(in, begin - (W - 1) + i);
  }
  KOKKOS_INLINE_FUNCTION LaneValues<T, n> row(const Signal<T>& in, index_t t) const {
    const bool exists = t >= 0 && t < static_cast<index_t>(in.u.extent(0));
    return LaneValues<T, n>::load(&in.u(exists ? t : 0, channel), exists ? count : 0, aligned);
  }
  /// Asks for rows [t, t + rows_ahead); advance() afterwards makes the last of them the oldest.
  KOKKOS_INLINE_FUNCTION void ask(const Signal<T>& in, index_t t) {
    for (int r = 0; r < rows_ahead; ++r) window[W - 1 + r] = row(in, t + r);
  }
  KOKKOS_INLINE_FUNCTION void advance() {
    for (int i = 0; i < W - 1; ++i) window[i] = window[i + rows_ahead];
  }
  /// x_j = u_{t - W + 1 + j} for row t = (first of the window's new rows) + r at `position`,
  /// zero more than `back` positions before it.
  KOKKOS_INLINE_FUNCTION void inputs(const Signal<T>& in, index_t t, int r, index_t position,
                                     index_t back, A (*x)[n]) const {
    for (int j = 0; j < W; ++j) {
      LaneValues<T, n> values = window[r + j];
      if (position < W - 1 && W - 1 - j <= back)  // the first rows of a sequence may see the past
        values = LaneValues<T, n>::load(in.before(&in.u(t, channel), t, W - 1 - j), count, false);
      for (int c = 0; c < n; ++c) x[j][c] = W - 1 - j <= back ? widen(values.value[c]) : A(0);
    }
  }
  /// sum_j w_j x_j.
  KOKKOS_INLINE_FUNCTION void convolve(const A (*x)[n], A* sum) const {
    for (int c = 0; c < n; ++c) {
      sum[c] = A(0);
      for (int j = 0; j < W; ++j) sum[c] += taps[j][c] * x[j][c];
    }
  }
};

template <class T, int W>
struct ForwardLanes {
  using A = Accumulate<T>;
  static constexpr int channels = 4;
  Signal<T> in;
  View2<const T> weight;
  View1<const T> bias;
  View1<const A> mask;
  View2<T> out;
  bool aligned;

  KOKKOS_FUNCTION void operator()(const index_t item) const {
    using L = Lane<T, W, channels>;
    L lane(item, in, weight, bias, mask, aligned);
    index_t position = lane.begin % in.length;
    for (index_t t = lane.begin; t < lane.end; t += L::rows_ahead) {
      lane.ask(in, t);
      for_rows_ahead<L::rows_ahead>([&](auto r) {
        if (t + r < lane.end) write_row(lane, t + r, r, position);
        position = position + 1 == in.length ? 0 : position + 1;
      });
      lane.advance();
    }
  }

 private:
  KOKKOS_INLINE_FUNCTION void write_row(const Lane<T, W, channels>& lane, index_t t, int r,
                                        index_t position) const {
    A x[W][channels], v[channels];
    lane.inputs(in, t, r, position, in.reach(t, position, W - 1), x);
    lane.convolve(x, v);
    for (int c = 0; c < channels; ++c) v[c] = activated(v[c], lane.bias[c], lane.mask[c]);
    LaneValues<T, channels>::store(&out(t, lane.channel), v, lane.count, aligned);
  }
};

/// The rows of partial sums: W of dweight, then dbias, then dmask, each as wide as the channels.
template <class T, int W>
struct BackwardLanes {
  using A = Accumulate<T>;
  static constexpr int channels = 2;
  Signal<T> in;
  RowsOf<const T> dout;
  View2<const T> weight;
  View1<const T> bias;
  View1<const A> mask;
  ConvolutionFuture<T> future;
  index_t future_length;  ///< n
  RowsOf<T> du;
  RowsOf<A> partial;  ///< [row blocks * (W + 2), channels]
  bool aligned;

  using L = Lane<T, W, channels>;
  /// What goes down the rows: gradients by v of the last W rows, how far these see, and sums.
  struct Sums {
    A dv[W][channels] = {}, dtaps[W][channels] = {}, dbias[channels] = {}, dmask[channels] = {};
    int reach[W];
  };

  KOKKOS_FUNCTION void operator()(const index_t item) const {
    L lane(item, in, weight, bias, mask, aligned);
    Sums sums;
    for (int s = 0; s < W; ++s) sums.reach[s] = -1;
    index_t position = lane.begin % in.length;
    for (index_t t = lane.begin; t < lane.end + W - 1; t += L::rows_ahead) {
      lane.ask(in, t);
      LaneValues<T, channels> upstream[L::rows_ahead];
      for (int r = 0; r < L::rows_ahead; ++r) upstream[r] = gradient_row(lane, t + r);
      for_rows_ahead<L::rows_ahead>([&](auto r) {
        for (int s = 0; s + 1 < W; ++s) {
          sums.reach[s] = sums.reach[s + 1];
          for (int c = 0; c < channels; ++c) sums.dv[s][c] = sums.dv[s + 1][c];
        }
        take_row(lane, t + r, r, position, upstream[r], sums);
        const index_t done = t + r - W + 1;  // all rows that see it are known
        if (done >= lane.begin && done < lane.end) write_row(lane, done, sums);
        position = position + 1 == in.length ? 0 : position + 1;
      });
      lane.advance();
    }
    store_parameters(lane, sums);
  }

 private:
  KOKKOS_INLINE_FUNCTION LaneValues<T, channels> gradient_row(const L& lane, index_t t) const {
    const bool exists = t < static_cast<index_t>(in.u.extent(0));
    return LaneValues<T, channels>::load(dout.at(exists ? t : 0, lane.channel),
                                         exists ? lane.count : 0, aligned);
  }
  /// The gradient by v of row t, and its part of the parameter gradients.
  KOKKOS_INLINE_FUNCTION void take_row(const L& lane, index_t t, int r, index_t position,
                                       const LaneValues<T, channels>& upstream, Sums& sums) const {
    if (t >= static_cast<index_t>(in.u.extent(0))) {
      sums.reach[W - 1] = -1;
      return;
    }
    A x[W][channels], sum[channels];
    const index_t back = in.reach(t, position, W - 1);
    sums.reach[W - 1] = static_cast<int>(math::min(back, position));  // inside the span
    lane.inputs(in, t, r, position, back, x);
    lane.convolve(x, sum);
    for (int c = 0; c < channels; ++c) {
      const A dv = gradient_by_v(widen(upstream.value[c]), sum[c], lane.bias[c], lane.mask[c]);
      sums.dv[W - 1][c] = dv;
      const A own = t < lane.end ? dv : A(0);
      sums.dbias[c] += own;
      sums.dmask[c] += own * (lane.bias[c] + A(2) * lane.mask[c] * sum[c]);
      for (int j = 0; j < W; ++j) sums.dtaps[j][c] += own * x[j][c];
    }
  }
  KOKKOS_INLINE_FUNCTION void write_row(const L& lane, index_t done, const Sums& sums) const {
    A sum[channels] = {};
    for (int s = 0; s < W; ++s)
      for (int c = 0; c < channels; ++c)
        if (sums.reach[s] >= s) sum[c] += lane.taps[W - 1 - s][c] * sums.dv[s][c];
    if (future_length != 0) add_future(lane, done, sum);
    for (int c = 0; c < channels; ++c) sum[c] *= lane.mask[c] * lane.mask[c];
    LaneValues<T, channels>::store(du.at(done, lane.channel), sum, lane.count, aligned);
  }
  /// What row `done` gets from the rows after its span.
  KOKKOS_INLINE_FUNCTION void add_future(const L& lane, index_t done, A* sum) const {
    const index_t left = in.length - done % in.length;  // rows of the span from `done` on
    if (left >= W) return;
    const index_t first = done / in.length * future_length;
    if (!in.is_one_segment(done, left)) return;
    for (int s = 1; s < W; ++s) {
      if (s < left || s >= left + future_length) continue;
      const index_t row = first + s - left;
      if (in.segment.extent(0) != 0 && future.segment(row) != in.segment(done)) return;
      for (int c = 0; c < channels; ++c)
        if (c < lane.count) sum[c] += lane.taps[W - 1 - s][c] * future.dv(row, lane.channel + c);
    }
  }
  KOKKOS_INLINE_FUNCTION void store_parameters(const L& lane, const Sums& sums) const {
    const index_t first = lane.begin / rows_per_block * (W + 2);
    for (int c = 0; c < channels; ++c) {
      if (c >= lane.count) continue;
      const index_t channel = lane.channel + c;
      const A m = lane.mask[c];
      for (int j = 0; j < W; ++j) *partial.at(first + j, channel) = m * m * sums.dtaps[j][c];
      *partial.at(first + W, channel) = m * sums.dbias[c];
      *partial.at(first + W + 1, channel) = sums.dmask[c];
    }
  }
};

}  // namespace elastic::kernels
