// SPDX-License-Identifier: Apache-2.0
// What the formulas of a layer kind take and give, in plain numbers.
#pragma once
#include <vector>

#include "base/types.hpp"

namespace elastic {

/// Extents of one layer as real numbers (fractional while the router mixes widths), or a gradient
/// by them.
struct LayerExtents {
  double hidden = 0;  ///< D
  double width = 0;   ///< H, A or F
  double inner = 0;   ///< width * head channels: E, A*C or F
  double side = 0;    ///< twice what the groups hold: 2*G*N (B and C), 2*R*C (keys and values)
};

/// Work per token of one mixer in one pass.
struct LayerWork {
  double products = 0, attention = 0, scan = 0;  ///< operations, 2 per multiply-add
  double convolution = 0;  ///< operations that memory bounds: in the FLOPs, not in planned times
  double elements = 0;     ///< read and written by kernels outside products, attention and scan
};

/// On what a pass works.
struct PassFacts {
  index_t seq_length = 1;   ///< L
  bool soft_masks = false;  ///< the router explores
};

/// The tokens that one rank computes together: whole sequences, or spans of them
/// (parallel/spans.hpp).
struct PassTokens {
  index_t batch = 1, seq_length = 1;  ///< sequences or spans, and their length
  index_t ranks = 1;                  ///< that share out the spans
  index_t slots = 0;                  ///< spans of each sequence here; 0: whole sequences
  bool in_turn = false;               ///< each span is a block of its own
  index_t partial_sums = 0;           ///< of deterministic sums over units, besides the result
  bool masked_heads = false;          ///< the number of attention heads is elastic
  double sum_size = 1;                ///< sizeof(Accumulate<T>) / sizeof(T)
  index_t count() const { return batch * seq_length; }
  index_t blocks() const { return in_turn ? slots : 1; }
  /// Memory of the partial sums of [T, D].
  double partials(double hidden) const { return sums(partial_sums * count()) * hidden; }
  /// Memory of so many elements of Accumulate<T>, in elements of T.
  double sums(index_t elements) const { return sum_size * static_cast<double>(elements); }
  bool narrow_values() const { return sum_size > 1; }
};

/// Arena memory of one mixer, in elements of T (PassTokens::sums): kept from forward to backward,
/// the most that backward adds, and what forward takes for a while, less than that.
struct LayerElements {
  double forward = 0, backward = 0, passing = 0;
};

/// Working memory of kernels, which this folder cannot see; in elements of Accumulate<T>.
struct KernelWorkspaces {
  struct Scan {
    index_t batch, seq_length, num_heads, head_dim, num_groups, state_dim, chunk_size;
  };
  struct Attention {
    index_t batch, seq_length, num_heads, num_groups, head_dim, kv_length;
  };
  index_t (*scan)(const Scan&);
  index_t (*attention)(const Attention&);
  index_t (*convolution)(index_t tokens, index_t channels, index_t taps);
  index_t (*gated_norm)(index_t tokens, index_t width, index_t groups);
  index_t (*scan_forward)(const Scan&) = [](const Scan&) { return index_t{0}; };
  index_t (*attention_forward)(const Attention&) = [](const Attention&) { return index_t{0}; };
};

/// Sizes of each collective that context parallelism adds to one pass of a mixer,
/// in elements of T.
struct LayerMessages {
  std::vector<double> gathered;  ///< by all-gathers, of all ranks together
  std::vector<double> reduced;   ///< by reduce-scatters
};
/// What such messages depend on.
struct MessageFacts {
  double spans = 0;       ///< of all sequences of a micro-batch, on all ranks
  double tokens = 0;      ///< of all sequences
  bool backward = false;  ///< the pass
  double sum_size = 1;    ///< as in PassTokens
};

}  // namespace elastic
