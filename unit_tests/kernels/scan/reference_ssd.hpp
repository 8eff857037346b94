// SPDX-License-Identifier: Apache-2.0
// The state-space scan (Mamba-2, arXiv 2405.21060) and the convolution, position by position,
// in double precision on the host.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/scan/ssd_shape.hpp"

namespace elastic::test {

/// Arguments as flat row-major arrays, shapes as in kernels/scan/ssd.hpp;
/// dt_mask and segment may be empty.
struct ReferenceSsdInputs {
  std::vector<double> x, ssm_B, ssm_C, dt_raw, A_log, dt_bias, ssm_D, dt_mask;
  std::vector<token_t> segment;
};

/// y [T, H*P] by the plain recurrence;
/// `states`, if given, gets the state after every position [T, H*P*N].
inline std::vector<double> reference_ssd(const kernels::SsdShape& s, const ReferenceSsdInputs& in,
                                         std::vector<double>* states = nullptr) {
  const index_t H = s.num_heads, P = s.head_dim, G = s.num_groups, N = s.state_dim;
  std::vector<double> y(s.num_tokens() * H * P);
  if (states) states->assign(s.num_tokens() * H * P * N, 0);
  for (index_t h = 0; h < H; ++h) {
    std::vector<double> state(P * N);
    for (index_t t = 0; t < s.num_tokens(); ++t) {
      const bool begins =
          t % s.seq_length == 0 || (!in.segment.empty() && in.segment[t] != in.segment[t - 1]);
      if (begins) state.assign(P * N, 0);
      const double raw =
          (in.dt_mask.empty() ? 1 : in.dt_mask[h]) * in.dt_raw[t * H + h] + in.dt_bias[h];
      const double delta = std::log1p(std::exp(-std::abs(raw))) + std::max(raw, 0.0);
      const double decay = std::exp(-delta * std::exp(in.A_log[h]));
      const double *B = &in.ssm_B[(t * G + h % G) * N], *C = &in.ssm_C[(t * G + h % G) * N];
      for (index_t p = 0; p < P; ++p) {
        const double x = in.x[(t * H + h) * P + p];
        double sum = in.ssm_D[h] * x;
        for (index_t n = 0; n < N; ++n) {
          double& value = state[p * N + n];
          value = decay * value + delta * x * B[n];
          sum += value * C[n];
        }
        y[(t * H + h) * P + p] = sum;
      }
      if (states) std::copy(state.begin(), state.end(), states->begin() + (t * H + h) * P * N);
    }
  }
  return y;
}

/// The equation of kernels/convolution/causal_conv1d.hpp; mask and segment may be empty.
inline std::vector<double> reference_causal_conv1d(index_t length, index_t channels, index_t width,
                                                   const std::vector<double>& u,
                                                   const std::vector<double>& weight,
                                                   const std::vector<double>& bias,
                                                   const std::vector<double>& mask,
                                                   const std::vector<token_t>& segment) {
  const index_t tokens = static_cast<index_t>(u.size()) / channels;
  std::vector<double> out(u.size());
  for (index_t t = 0; t < tokens; ++t)
    for (index_t c = 0; c < channels; ++c) {
      const double m = mask.empty() ? 1 : mask[c];
      double v = m * bias[c];
      for (index_t back = 0; back < width && back <= t % length; ++back) {
        if (!segment.empty() && segment[t - back] != segment[t]) break;
        v += m * weight[c * width + width - 1 - back] * m * u[(t - back) * channels + c];
      }
      out[t * channels + c] = v / (1 + std::exp(-v));
    }
  return out;
}

}  // namespace elastic::test
