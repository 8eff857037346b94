// SPDX-License-Identifier: Apache-2.0
// What the four steps of the chunked scan read and write. Extents: kernels/scan/ssd_shape.hpp.
//
//   step                reads                      forward writes        backward gives
//   ssd_chunk_cumsum    dt_raw, A_log, dt_bias,    dt, dA_cumsum         ddt_raw, dA_log,
//                       dt_mask                                          ddt_bias, ddt_mask
//   ssd_chunk_state     x, ssm_B                   states (Z)            dx, dssm_B
//   ssd_state_passing   incoming                   states, final_state   dincoming_state
//   ssd_chunk_scan      x, ssm_B, ssm_C, ssm_D     y                     dx, dssm_B, dssm_C, dssm_D
#pragma once
#include "kernels/scan/ssd_shape.hpp"

namespace elastic::kernels {

/// What comes in from the tokens before a span of longer sequences.
template <class T>
struct SsdIncoming {
  View2<const Accumulate<T>> state = {};  ///< [B*H, P*N] after the token before the span; empty: 0
  View1<const token_t> segment = {};      ///< [B] its segment; empty where the span has no segments
};

/// Inputs of the scan. dt_raw is the projection before softplus:
/// Delta = softplus(m_h dt_raw + dt_bias).
template <class T>
struct SsdInputs {
  View2<const T> x;                    ///< [T, H*P]
  View2<const T> ssm_B;                ///< [T, G*N]
  View2<const T> ssm_C;                ///< [T, G*N]
  View2<const T> dt_raw;               ///< [T, H]
  View1<const Accumulate<T>> A_log;    ///< [H], A = -exp(A_log)
  View1<const Accumulate<T>> dt_bias;  ///< [H]
  View1<const Accumulate<T>> ssm_D;    ///< [H]
  View1<const Accumulate<T>> dt_mask;  ///< [H] or empty
  View1<const token_t> segment;        ///< [T] or empty
  SsdIncoming<T> incoming = {};        ///< where the rows are spans of longer sequences
};

/// What is kept from forward to backward.
template <class T>
struct SsdSaved {
  View2<Accumulate<T>> dt;  ///< [T, H] Delta
  /// [T, 2H] sums of Delta A inside each chunk, its own included: high words, then low words
  View2<Accumulate<T>> dA_cumsum;
  View2<Accumulate<T>> states;  ///< [B*K*H, P*N] at the beginning of each chunk; Z before passing
  View2<Accumulate<T>> final_state = {};  ///< [B*H, P*N] after the last token, or empty: not wanted
};

/// Gradients by the inputs of the scan, and by the states that spans pass on.
template <class T>
struct SsdGradients {
  View2<T> dx, dssm_B, dssm_C, ddt_raw;           ///< shapes of the inputs; overwritten
  View1<Accumulate<T>> dA_log, ddt_bias, dssm_D;  ///< [H]; accumulated
  View1<Accumulate<T>> ddt_mask;                  ///< [H] or empty; accumulated
  View2<const Accumulate<T>> dfinal_state =
      {};  ///< [B*H, P*N] input: by saved.final_state, or empty
  View2<Accumulate<T>> dincoming_state =
      {};  ///< [B*H, P*N] by incoming.state, or empty; overwritten
};

/// What the steps hand on to each other going backward, carved from one workspace.
template <class T>
struct SsdWorkspace {
  View2<Accumulate<T>> dstates;   ///< [B*K*H, P*N] by the states, then by Z
  View2<Accumulate<T>> ddt, ddA;  ///< [T, H] by Delta_t, and by Delta_t A
  View2<Accumulate<T>> of_skip;   ///< [B*K, H] each chunk's part of dssm_D
  View2<Accumulate<T>> of_heads;  ///< [3*B*K, H] each chunk's part of dA_log, ddt_bias, ddt_mask
  /// [T, H*P], [T, G*N] what ssd_chunk_scan hands on of dx and dssm_B, not rounded yet; empty where
  /// T can hold sums: then dx and dssm_B themselves do.
  View2<Accumulate<T>> dx, dssm_B;
  View1<Accumulate<T>> for_products;  ///< where ssd_by_products (kernels/scan/ssd_batched.hpp)

  /// memory: ssd_workspace_size<T>(shape) elements.
  SsdWorkspace(const SsdShape& shape, const View1<Accumulate<T>>& memory);

  /// dx and dssm_B as sums.
  View2<Accumulate<T>> sum_of_dx(const SsdGradients<T>& gradients) const {
    if constexpr (std::is_same_v<T, Accumulate<T>>)
      return gradients.dx;
    else
      return dx;
  }
  View2<Accumulate<T>> sum_of_dssm_B(const SsdGradients<T>& gradients) const {
    if constexpr (std::is_same_v<T, Accumulate<T>>)
      return gradients.dssm_B;
    else
      return dssm_B;
  }
};
/// Elements of the workspace of a backward pass.
template <class T>
index_t ssd_workspace_size(const SsdShape& shape);
/// Elements of the workspace of a forward pass: none on hosts.
template <class T>
index_t ssd_forward_workspace_size(const SsdShape& shape);

}  // namespace elastic::kernels
