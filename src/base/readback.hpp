// SPDX-License-Identifier: Apache-2.0
// Numbers that kernels leave on the device for the host: many results, one copy, one fence.
//
//   const auto a = readback.take(3), b = readback.take(1);   // kernels write them
//   readback.read(exec);                                     // the one wait
//   use(readback.numbers(a)[2], readback.numbers(b)[0]);
//   readback.clear();
#pragma once
#include <vector>

#include "base/types.hpp"

namespace elastic {

class Readback {
 public:
  /// [n] on the device, contents undefined; valid until clear(). Allocates only where more is taken
  /// between two clear() than ever before.
  View1<double> take(index_t n);
  /// Waits for `exec` and brings all that was taken to the host.
  void read(const ExecutionSpace& exec);
  /// What take() gave, on the host; after read().
  const double* numbers(const View1<double>& taken) const;
  /// Gives all back.
  void clear();

 private:
  struct Block {
    View1<double> there;
    HostView1<double> here;  // the same memory where the host can reach it
    index_t used = 0;
  };
  static Block make_block(index_t size);

  std::vector<Block> m_blocks;
};

}  // namespace elastic
