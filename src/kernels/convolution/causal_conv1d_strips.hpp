// SPDX-License-Identifier: Apache-2.0
// The convolution on a processor, for the widths that models have: one vector of channels walks
// down a block of rows with its taps, last W inputs, last W gradients and sums in registers, for
// which the compiler must know W and whether there is a mask. Rows that see less than W-1 rows of
// their span, or are seen by less, are rare (where sequences, documents and blocks begin and end)
// and go through memory.
// Internal to kernels/convolution/causal_conv1d.cpp.
#pragma once
#include "kernels/convolution/host_vector.hpp"
#ifdef ELASTIC_HOST_VECTORS
#include "kernels/convolution/causal_conv1d_lanes.hpp"

namespace elastic::kernels {

/// A work item: a block of rows, and a run of channels.
struct StripItem {
  static constexpr index_t run = 256;
  index_t begin, end;     ///< rows
  index_t first, behind;  ///< channels

  static index_t runs(index_t channels) { return math::max<index_t>(1, channels / run); }
  StripItem(index_t item, index_t tokens, index_t channels) {
    const index_t across = runs(channels);
    begin = item / across * rows_per_block;
    end = math::min(begin + rows_per_block, tokens);
    first = item % across * run;
    behind = item % across == across - 1 ? channels : first + run;
  }
  /// body(c) for vectors of `length` channels from c on, which cover the run; the last may overlap.
  template <class F>
  void for_strips(index_t length, const F& body) const {
    for (index_t c = first; c < behind; c += length) body(math::min(c, behind - length));
  }
};

/// How far the rows of a block see, and the W-1 rows after it.
template <int W>
struct Reaches {
  static constexpr int rows = static_cast<int>(rows_per_block) + W - 1;
  index_t begin;
  std::int8_t back[rows];    ///< positions before the row that it sees
  std::int8_t inside[rows];  ///< of these inside the span; -1: there is no such row

  template <class T>
  Reaches(const Signal<T>& in, index_t begin_, index_t end) : begin(begin_) {
    const auto tokens = static_cast<index_t>(in.u.extent(0));
    index_t position = begin % in.length;
    for (index_t t = begin; t < end + W - 1; ++t) {
      const index_t most = t < tokens ? in.reach(t, position, W - 1) : -1;
      back[t - begin] = static_cast<std::int8_t>(most);
      inside[t - begin] = static_cast<std::int8_t>(math::min(most, position));
      position = position + 1 == in.length ? 0 : position + 1;
    }
  }
  /// Whether row t sees W-1 rows of the span.
  bool sees_all(index_t t) const { return inside[t - begin] == W - 1; }
  /// Whether the W-1 rows after row t see it.
  bool is_seen_by_all(index_t t) const {
    for (int s = 1; s < W; ++s)
      if (inside[t - begin + s] < s) return false;
    return true;
  }
  /// The first row in [t, end) for which f(row) is false, or end.
  template <class F>
  static index_t first_without(index_t t, index_t end, const F& f) {
    while (t < end && f(t)) ++t;
    return t;
  }
};

/// A vector of channels, and their taps.
template <class T, int W, bool masked>
struct Strip {
  using A = Accumulate<T>;
  using V = Vector<A>;
  static constexpr int length = vector_length<A>;
  index_t channel;
  V taps[W], bias, mask;

  Strip(index_t channel_, const View2<const T>& weight, const View1<const T>& b,
        const View1<const A>& m)
      : channel(channel_) {
    A values[W][length];
    for (int c = 0; c < length; ++c)
      for (int j = 0; j < W; ++j) values[j][c] = widen(weight(channel + c, j));
    for (int j = 0; j < W; ++j) taps[j] = load_vector(values[j]);
    bias = load_vector(&b(channel));
    mask = m.extent(0) == 0 ? vector_of(A(1)) : load_vector(&m(channel));
  }
  /// x_j = u_{t-W+1+j}, zero more than `back` positions before row t.
  void inputs(const Signal<T>& in, index_t t, int back, V (&x)[W]) const {
    for (int j = 0; j < W; ++j)
      x[j] = W - 1 - j <= back ? load_vector(in.before(&in.u(t, channel), t, W - 1 - j)) : V{};
  }
  KOKKOS_FORCEINLINE_FUNCTION V convolve(const V (&x)[W]) const {
    V sum = {};
    for (int j = 0; j < W; ++j) sum += taps[j] * x[j];
    return sum;
  }
  KOKKOS_FORCEINLINE_FUNCTION V value(const V& sum) const {
    if constexpr (masked)
      return mask * (bias + mask * sum);
    else
      return bias + sum;
  }
};

/// The rows of a strip lie in different pages: without a request in time the walk down the next
/// strip would wait for each.
template <class T, int length>
KOKKOS_FORCEINLINE_FUNCTION void request_next_strip(const T* here) {
  __builtin_prefetch(here + length);
}
/// The last W rows: x_j for row t becomes that for row t + 1, whose newest is `next`.
template <int W, class V>
KOKKOS_FORCEINLINE_FUNCTION void advance(V (&x)[W], const V& next) {
  for (int j = 0; j + 1 < W; ++j) x[j] = x[j + 1];
  x[W - 1] = next;
}

template <class T, int W, bool masked>
struct ForwardStrips {
  using S = Strip<T, W, masked>;
  using V = typename S::V;
  Signal<T> in;
  View2<const T> weight;
  View1<const T> bias;
  View1<const Accumulate<T>> mask;
  View2<T> out;

  void operator()(const index_t item) const {
    const StripItem part(item, static_cast<index_t>(out.extent(0)),
                         static_cast<index_t>(out.extent(1)));
    const Reaches<W> reaches(in, part.begin, part.end);
    part.for_strips(S::length, [&](const index_t c) {
      const S strip(c, weight, bias, mask);
      for (index_t t = part.begin; t < part.end; ++t) {
        const index_t stop = reaches.first_without(
            t, part.end, [&](const index_t row) { return reaches.sees_all(row); });
        if (t < stop) walk(strip, t, stop);
        t = stop;
        if (t < part.end) row(strip, t, reaches.back[t - part.begin]);
      }
    });
  }

 private:
  static KOKKOS_FORCEINLINE_FUNCTION V activated(const S& strip, const V (&x)[W]) {
    const V v = strip.value(strip.convolve(x));
    return v * sigmoid_of_number(v);
  }
  /// One row.
  void row(const S& strip, index_t t, int back) const {
    V x[W];
    strip.inputs(in, t, back, x);
    store_vector(&out(t, strip.channel), activated(strip, x));
  }
  /// Rows [t, stop) that see W-1 rows before them.
  void walk(const S& given, index_t t, index_t stop) const {
    const S strip = given;
    const index_t step = leading_dimension(in.u), out_step = leading_dimension(out);
    const T* u = &in.u(t, strip.channel);
    T* to = &out(t, strip.channel);
    V x[W];
    for (int j = 1; j < W; ++j) x[j] = load_vector(u - (W - j) * step);
    for (; t < stop; ++t, u += step, to += out_step) {
      request_next_strip<T, S::length>(u);
      advance(x, load_vector(u));
      store_vector(to, activated(strip, x));
    }
  }
};

/// The rows of partial sums: W of dweight, then dbias, then dmask, each `channels` wide.
template <class T, int W, bool masked>
struct BackwardStrips {
  using A = Accumulate<T>;
  using S = Strip<T, W, masked>;
  using V = typename S::V;
  Signal<T> in;
  View2<const T> dout, weight;
  View1<const T> bias;
  View1<const A> mask;
  ConvolutionFuture<T> future;
  index_t future_length;  ///< n
  View2<T> du;
  View2<A> partial;  ///< [row blocks * (W + 2), channels]

  /// What goes down the rows: gradients by v of the last W rows, and sums.
  struct Sums {
    V dv[W] = {}, dtaps[W] = {}, dbias = {}, dmask = {};
  };

  void operator()(const index_t item) const {
    const StripItem part(item, static_cast<index_t>(du.extent(0)),
                         static_cast<index_t>(du.extent(1)));
    const Reaches<W> reaches(in, part.begin, part.end);
    part.for_strips(S::length, [&](const index_t c) {
      const S strip(c, weight, bias, mask);
      Sums sums;
      for (index_t t = part.begin; t < part.end + W - 1; ++t) {
        const index_t stop = reaches.first_without(t, part.end, [&](const index_t row) {
          return row - (W - 1) >= part.begin && reaches.sees_all(row) &&
                 reaches.is_seen_by_all(row - (W - 1));
        });
        if (t < stop) walk(strip, t, stop, sums);
        t = math::max(t, stop);
        take(strip, reaches, t, t < part.end, sums);
        if (t - (W - 1) >= part.begin) write(strip, reaches, t - (W - 1), sums);
      }
      store_parameters(strip, part.begin, sums);
    });
  }

 private:
  /// Row t with inputs x: its gradient by v, and its part of the parameter gradients if `own`.
  static KOKKOS_FORCEINLINE_FUNCTION void add(const S& strip, const V (&x)[W], const V& upstream,
                                              bool own, Sums& sums) {
    const V sum = strip.convolve(x), v = strip.value(sum), sigmoid = sigmoid_of_number(v);
    const V dv = upstream * sigmoid * (1 + v * (1 - sigmoid));
    advance(sums.dv, dv);
    if (!own) return;
    sums.dbias += dv;
    if constexpr (masked) sums.dmask += dv * (strip.bias + 2 * strip.mask * sum);
    for (int j = 0; j < W; ++j) sums.dtaps[j] += dv * x[j];
  }
  static KOKKOS_FORCEINLINE_FUNCTION V input_gradient(const S& strip, V sum) {
    if constexpr (masked) sum *= strip.mask * strip.mask;
    return sum;
  }
  /// Rows [t, stop) that see W-1 rows before them; writes the rows W-1 before, which are seen by
  /// all after them.
  void walk(const S& given, index_t t, index_t stop, Sums& given_sums) const {
    const S strip = given;
    Sums sums = given_sums;
    const index_t step = leading_dimension(in.u), dout_step = leading_dimension(dout),
                  du_step = leading_dimension(du);
    const T *u = &in.u(t, strip.channel), *upstream = &dout(t, strip.channel);
    T* to = &du(t - (W - 1), strip.channel);
    V x[W];
    for (int j = 1; j < W; ++j) x[j] = load_vector(u - (W - j) * step);
    for (; t < stop; ++t, u += step, upstream += dout_step, to += du_step) {
      request_next_strip<T, S::length>(u);
      request_next_strip<T, S::length>(upstream);
      advance(x, load_vector(u));
      add(strip, x, load_vector(upstream), true, sums);
      V sum = {};
      for (int s = 0; s < W; ++s) sum += strip.taps[W - 1 - s] * sums.dv[s];
      store_vector(to, input_gradient(strip, sum));
    }
    given_sums = sums;
  }
  /// One row, if there is such a row.
  void take(const S& strip, const Reaches<W>& reaches, index_t t, bool own, Sums& sums) const {
    const index_t i = t - reaches.begin;
    if (reaches.inside[i] < 0) return advance(sums.dv, V{});
    V x[W];
    strip.inputs(in, t, reaches.back[i], x);
    add(strip, x, load_vector(&dout(t, strip.channel)), own, sums);
  }
  /// du of one row.
  void write(const S& strip, const Reaches<W>& reaches, index_t done, const Sums& sums) const {
    V sum = {};
    for (int s = 0; s < W; ++s)
      if (reaches.inside[done - reaches.begin + s] >= s) sum += strip.taps[W - 1 - s] * sums.dv[s];
    if (future_length != 0) add_future(strip, done, sum);
    store_vector(&du(done, strip.channel), input_gradient(strip, sum));
  }
  /// What row `done` gets from the rows after its span.
  void add_future(const S& strip, index_t done, V& sum) const {
    const index_t left = in.length - done % in.length;  // rows of the span from `done` on
    if (left >= W) return;
    const index_t first = done / in.length * future_length;
    if (!in.is_one_segment(done, left)) return;
    for (index_t s = left; s < math::min<index_t>(W, left + future_length); ++s) {
      const index_t row = first + s - left;
      if (in.segment.extent(0) != 0 && future.segment(row) != in.segment(done)) return;
      sum += strip.taps[W - 1 - s] * load_vector(&future.dv(row, strip.channel));
    }
  }
  void store_parameters(const S& strip, index_t begin, const Sums& sums) const {
    const index_t first = begin / rows_per_block * (W + 2);
    const V square = strip.mask * strip.mask;
    for (int j = 0; j < W; ++j)
      store_vector(&partial(first + j, strip.channel), V(square * sums.dtaps[j]));
    store_vector(&partial(first + W, strip.channel), V(strip.mask * sums.dbias));
    store_vector(&partial(first + W + 1, strip.channel), sums.dmask);
  }
};

}  // namespace elastic::kernels
#endif
