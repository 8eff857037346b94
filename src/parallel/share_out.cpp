// SPDX-License-Identifier: Apache-2.0
#include "parallel/share_out.hpp"

#include <algorithm>
#include <numeric>

#include "base/error.hpp"

namespace elastic {

std::vector<index_t> share_out(const std::vector<double>& work, index_t workers) {
  ELASTIC_REQUIRE(workers > 0, "{} workers", workers);
  std::vector<std::size_t> order(work.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return work[a] > work[b]; });
  std::vector<double> load(static_cast<std::size_t>(workers), 0.0);
  std::vector<index_t> worker_of(work.size(), 0);
  for (const std::size_t piece : order) {
    const auto least = std::min_element(load.begin(), load.end());
    *least += work[piece];
    worker_of[piece] = least - load.begin();
  }
  return worker_of;
}

}  // namespace elastic
