// SPDX-License-Identifier: Apache-2.0
// Gradients of the state-space scan, position by position backward, in double on the host.
#pragma once
#include "unit_tests/kernels/scan/reference_ssd.hpp"

namespace elastic::test {

/// Gradients of sum(y dy) by the inputs of reference_ssd; A_log .. dt_mask [H].
struct ReferenceSsdGradients {
  std::vector<double> x, ssm_B, ssm_C, dt_raw, A_log, dt_bias, ssm_D, dt_mask;
};

///   dS_t       = decay_{t+1} dS_{t+1} + dy_t C_t^T
///   d(Delta_t) = x_t . dS_t B_t + A decay_t <S_{t-1}, dS_t>
///
/// The gradient by Delta_t A has no other terms, so that nothing cancels here.
inline ReferenceSsdGradients reference_ssd_gradients(const kernels::SsdShape& s,
                                                     const ReferenceSsdInputs& in,
                                                     const std::vector<double>& dy) {
  const index_t H = s.num_heads, P = s.head_dim, G = s.num_groups, N = s.state_dim, PN = P * N;
  std::vector<double> states;
  reference_ssd(s, in, &states);
  ReferenceSsdGradients g{.x = std::vector<double>(in.x.size()),
                          .ssm_B = std::vector<double>(in.ssm_B.size()),
                          .ssm_C = std::vector<double>(in.ssm_C.size()),
                          .dt_raw = std::vector<double>(in.dt_raw.size()),
                          .A_log = std::vector<double>(H),
                          .dt_bias = std::vector<double>(H),
                          .ssm_D = std::vector<double>(H),
                          .dt_mask = std::vector<double>(in.dt_mask.size())};
  for (index_t h = 0; h < H; ++h) {
    std::vector<double> dS(PN);
    const double A = -std::exp(in.A_log[h]);
    for (index_t t = s.num_tokens(); t-- > 0;) {
      const auto at = t * H + h, of_group = (t * G + h % G) * N;
      const bool begins =
          t % s.seq_length == 0 || (!in.segment.empty() && in.segment[t] != in.segment[t - 1]);
      const double mask = in.dt_mask.empty() ? 1 : in.dt_mask[h],
                   raw = mask * in.dt_raw[at] + in.dt_bias[h],
                   delta = std::log1p(std::exp(-std::abs(raw))) + std::max(raw, 0.0),
                   decay = begins ? 0 : std::exp(delta * A);
      double of_step = 0, of_exponent = 0;
      for (index_t p = 0; p < P; ++p) {
        const double x = in.x[at * P + p], upstream = dy[at * P + p];
        double of_x = 0;
        for (index_t n = 0; n < N; ++n) {
          double& d = dS[p * N + n];
          d += upstream * in.ssm_C[of_group + n];
          g.ssm_C[of_group + n] += upstream * states[at * PN + p * N + n];
          g.ssm_B[of_group + n] += delta * x * d;
          of_x += d * in.ssm_B[of_group + n];
          if (!begins) of_exponent += decay * d * states[(at - H) * PN + p * N + n];
          d *= decay;
        }
        of_step += x * of_x;
        g.x[at * P + p] = delta * of_x + in.ssm_D[h] * upstream;
        g.ssm_D[h] += x * upstream;
      }
      const double of_raw = (of_step + A * of_exponent) / (1 + std::exp(-raw));
      g.dt_raw[at] = mask * of_raw;
      g.dt_bias[h] += of_raw;
      if (!in.dt_mask.empty()) g.dt_mask[h] += of_raw * in.dt_raw[at];
      g.A_log[h] += A * delta * of_exponent;
    }
  }
  return g;
}

}  // namespace elastic::test
