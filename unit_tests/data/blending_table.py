#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# The first picks of Megatron-LM's blending rule (megatron/core/datasets/helpers.cpp, build_blending_indices; weights
# normalised by numpy.sum, utils.py), for unit_tests/data/test_blended_source.cpp. Python rounds every operation
# to a double, as the rule wants; a compiler may fuse two of them.
#
#   blending_table.py > blending_table.hpp
import random
import textwrap
import zlib



def pairwise_sum(terms):
    """numpy.sum of doubles: eight sums side by side, halves of more than 128 terms apart."""
    count = len(terms)
    if count < 8:
        total = 0.0
        for term in terms:
            total += term
        return total
    if count > 128:
        half = count // 2 - count // 2 % 8
        return pairwise_sum(terms[:half]) + pairwise_sum(terms[half:])
    lanes = list(terms[:8])
    even = count - count % 8
    for i in range(8, even):
        lanes[i % 8] += terms[i]
    total = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]))
    for term in terms[even:]:
        total += term
    return total


def picks(weights, count):
    total = pairwise_sum(weights)
    weights = [weight / total for weight in weights]
    taken = [0] * len(weights)
    for sample in range(count):
        at = max(float(sample), 1.0)
        best, largest = 0, weights[0] * at - float(taken[0])
        for i in range(1, len(weights)):
            deficit = weights[i] * at - float(taken[i])
            if deficit > largest:
                best, largest = i, deficit
        yield best
        taken[best] += 1


def blends():
    """Weights, and how many picks."""
    for weights in ([0.7, 0.3], [0.3, 0.7], [1.0, 1.0, 1.0], [0.1, 0.2, 0.3, 0.4], [0.5, 0.3, 0.15, 0.05], [7.0, 3.0],
                    [1 / 3, 1 / 7, 1 / 11]):
        yield weights, 5000
    noise = random.Random(1)
    for sources, count in ((9, 5000), (23, 5000), (150, 500)):
        yield [noise.random() for _ in range(sources)], count


if __name__ == "__main__":
    print("""// SPDX-License-Identifier: Apache-2.0
// Printed by blending_table.py: weights, and of how many first picks (a byte each, all of them
// twice) which zlib.crc32.
#pragma once
#include <cstdint>
#include <vector>

namespace elastic::test {

struct BlendingRow {
  std::vector<double> weights;
  int picks;
  std::uint32_t crc32;
};""")
    print("// clang-format off\ninline const std::vector<BlendingRow> blending_table = {")
    for weights, count in blends():
        numbers = textwrap.fill(", ".join(map(repr, weights)), 96, initial_indent="  {{", subsequent_indent="    ")
        print(numbers + f"}},\n   {count}, {zlib.crc32(2 * bytes(picks(weights, count)))}u}},")
    print("};\n// clang-format on\n\n}  // namespace elastic::test")
