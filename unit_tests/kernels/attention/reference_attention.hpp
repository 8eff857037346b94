// SPDX-License-Identifier: Apache-2.0
// Attention as its definition says, in double, with the whole L x L matrix of one head in memory.
#pragma once
#include "kernels/attention/attention.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {

using kernels::AttentionShape;

/// Row-major operands of attention_forward and attention_backward; segment may be empty.
struct ReferenceAttention {
  AttentionShape shape;
  std::vector<double> q, k, v;
  std::vector<token_t> segment;
  std::vector<double> out{}, lse{};      ///< set by forward()
  std::vector<double> dq{}, dk{}, dv{};  ///< set by backward()

  void forward() {
    const index_t tokens = shape.batch * shape.seq_length, A = shape.num_heads, C = shape.head_dim;
    out.assign(tokens * A * C, 0);
    lse.assign(tokens * A, 0);
    for (index_t a = 0; a < A; ++a)
      for (index_t t = 0; t < tokens; ++t) {
        double sum = 0;
        for (index_t j = first(t); j <= t; ++j) sum += visible(t, j) ? std::exp(score(t, j, a)) : 0;
        lse[t * A + a] = std::log(sum);
        for (index_t j = first(t); j <= t; ++j)
          for (index_t c = 0; c < C; ++c)
            out[q_at(t, a) + c] += probability(t, j, a) * v[kv_at(j, a) + c];
      }
  }

  void backward(const std::vector<double>& dout) {
    const index_t tokens = shape.batch * shape.seq_length, A = shape.num_heads, C = shape.head_dim;
    dq.assign(q.size(), 0);
    dk.assign(k.size(), 0);
    dv.assign(v.size(), 0);
    const double scale = 1 / std::sqrt(static_cast<double>(C));
    for (index_t a = 0; a < A; ++a)
      for (index_t t = 0; t < tokens; ++t) {
        double mean = 0;  // sum_j p_tj dp_tj
        for (index_t c = 0; c < C; ++c) mean += dout[q_at(t, a) + c] * out[q_at(t, a) + c];
        for (index_t j = first(t); j <= t; ++j) {
          const double p = probability(t, j, a);
          double dp = 0;
          for (index_t c = 0; c < C; ++c) dp += dout[q_at(t, a) + c] * v[kv_at(j, a) + c];
          const double ds = scale * p * (dp - mean);
          for (index_t c = 0; c < C; ++c) {
            dv[kv_at(j, a) + c] += p * dout[q_at(t, a) + c];
            dk[kv_at(j, a) + c] += ds * q[q_at(t, a) + c];
            dq[q_at(t, a) + c] += ds * k[kv_at(j, a) + c];
          }
        }
      }
  }

 private:
  index_t first(index_t t) const { return t / shape.seq_length * shape.seq_length; }
  bool visible(index_t t, index_t j) const { return segment.empty() || segment[t] == segment[j]; }
  index_t q_at(index_t t, index_t a) const { return (t * shape.num_heads + a) * shape.head_dim; }
  index_t kv_at(index_t t, index_t a) const {
    return (t * shape.num_groups + a % shape.num_groups) * shape.head_dim;
  }
  double score(index_t t, index_t j, index_t a) const {
    double dot = 0;
    for (index_t c = 0; c < shape.head_dim; ++c) dot += q[q_at(t, a) + c] * k[kv_at(j, a) + c];
    return dot / std::sqrt(static_cast<double>(shape.head_dim));
  }
  double probability(index_t t, index_t j, index_t a) const {
    return visible(t, j) ? std::exp(score(t, j, a) - lse[t * shape.num_heads + a]) : 0;
  }
};

}  // namespace elastic::test
