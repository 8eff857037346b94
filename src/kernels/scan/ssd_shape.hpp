// SPDX-License-Identifier: Apache-2.0
// Extents shared by the four steps of the chunked state-space scan (SSD, Dao and Gu 2024,
// arXiv 2405.21060, section 6):
//
//   ssd_chunk_cumsum -> ssd_chunk_state -> ssd_state_passing -> ssd_chunk_scan
//
// For head h in group g = h % G, with a_t = Delta_t A_h and S in R^{P x N},
// S = 0 where a segment begins:
//
//   S_t = exp(a_t) S_{t-1} + Delta_t x_t B_t^T
//   y_t = S_t C_t + D_h x_t
//
// Layout; the last chunk of a sequence may be short:
//
//   x, y            [T, H*P]
//   B, C            [T, G*N]
//   dt, dA_cumsum   [T, H], [T, 2H]
//   states          [B*K*H, P*N]: chunk k of sequence b and head h at row (b*K + k)*H + h
//   segment         [T] or empty: ids of documents, in constant runs
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// Extents of one call.
struct SsdShape {
  index_t batch = 0;        ///< B
  index_t seq_length = 0;   ///< L
  index_t num_heads = 0;    ///< H
  index_t head_dim = 0;     ///< P
  index_t num_groups = 1;   ///< G, divides H
  index_t state_dim = 0;    ///< N
  index_t chunk_size = 64;  ///< Q

  index_t num_chunks() const { return (seq_length + chunk_size - 1) / chunk_size; }  ///< K
  index_t num_tokens() const { return batch * seq_length; }                          ///< T
  index_t num_states() const { return batch * num_chunks() * num_heads; }  ///< rows of states
};

}  // namespace elastic::kernels
