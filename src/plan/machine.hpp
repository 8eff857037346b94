// SPDX-License-Identifier: Apache-2.0
// What a machine can do, as the plan of times needs it (plan/time.hpp): a small text with the
// grammar of a deck. benchmarks/scaling/measure_machine writes one for the machine it runs on.
//
//   <rank>                           # of one rank while all ranks of its node work
//   precision         = float32      # of what was measured: float32 (default) or bfloat16
//   matrix_products   = 180e9        # FLOP/s
//   attention         = 92e9
//   scan              = 58e9
//   kernel_bandwidth  = 30e9         # B/s
//   memory_bandwidth  = 12e9
//   <node>
//   ranks             = 2
//   latency           = 1e-6         # s
//   bandwidth         = 6e9          # B/s
//   <network>                        # needed if the run has more ranks than a node
//   latency           = 5e-6
//   bandwidth         = 3e9
//   overlap           = 1
//   <files>
//   bandwidth         = 2e8
//   total_bandwidth   = 1e10         # optional, as is the next
//   copy_bandwidth    = 1e9
#pragma once
#include <string>

#include "base/types.hpp"
#include "config/run_config.hpp"

namespace elastic {

/// What one rank does per second while all ranks of its node work.
struct RankRates {
  Precision precision = Precision::float32;  ///< of values and activations at these rates
  double matrix_products = 0;                ///< FLOP/s of matrix products
  double attention = 0;                      ///< FLOP/s inside attention, without its projections
  double scan = 0;                           ///< FLOP/s of the state-space scan
  double kernel_bandwidth = 0;  ///< bytes/s of kernels on activations: norms, convolution, ...
  double memory_bandwidth = 0;  ///< bytes/s on arrays as large as the model: optimizer, sums
};

/// Messages between two ranks: n bytes take latency + n / bandwidth seconds while
/// every rank sends and receives.
struct Link {
  double latency = 0, bandwidth = 0;
  /// Part of the time of travelling gradients that the backward pass can hide; 0 where the cores
  /// that compute also copy the messages.
  double overlap = 0;
};

/// A whole machine.
struct Machine {
  std::string file;
  RankRates rank;
  index_t ranks_per_node = 1;
  Link node, network;
  bool has_network = false;
  double file_bandwidth = 0;           ///< bytes/s of one file that one rank writes
  double total_file_bandwidth = 1e10;  ///< bytes/s of one file that all ranks write
  double copy_bandwidth = 1e9;         ///< bytes/s at which a rank copies its share of a file

  /// The link between the ranks of a group whose neighbours lie `stride` ranks apart.
  /// Throws InputError if they span nodes and the machine says nothing of a network.
  const Link& link(index_t group_size, index_t stride) const;
};

/// Reads the text of a machine file. Throws one InputError that lists every mistake.
Machine read_machine(const std::string& text, const std::string& file);
/// The text of a machine file.
std::string machine_text(const Machine& machine);

}  // namespace elastic
