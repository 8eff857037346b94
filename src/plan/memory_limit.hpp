// SPDX-License-Identifier: Apache-2.0
// Whether a run can fit into the machine at all, asked before anything is allocated: most systems
// promise memory that they do not have, and end the program when it is touched. And where it does
// not, which keys would make it fit.
#pragma once
#include "config/run_config.hpp"

namespace elastic {

/// Bytes of main memory of the machine that the program runs on.
double machine_memory();

/// Throws InputError if one rank alone needs more than the machine's `limit` bytes, or than
/// <parallel>/memory_limit, by the plan (plan/memory.hpp), naming the largest part, the keys that
/// decide it, and the nearest choice that fits.
void require_memory(const RunConfig& config, int ranks, double limit);

/// The nearest choice of keys and ranks with which a rank needs no more than `limit` bytes:
/// "nearest that fits: <parallel>/micro_batch_size = 1: 1.23 GB". Keys that cost less time change
/// first: recompute, micro_batch_size, logit_chunk_tokens, tensor_parallel_size with
/// sequence_parallel, then the number of ranks.
std::string nearest_fit(const RunConfig& config, const ModelShape& parent, int ranks, double limit);

/// Lines of the plan: whether a rank fits into <parallel>/memory_limit, if the deck has it.
/// `needed`: bytes by the plan.
std::string limit_lines(const RunConfig& config, const ModelShape& parent, int ranks,
                        double needed);

}  // namespace elastic
