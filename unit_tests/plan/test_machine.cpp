// SPDX-License-Identifier: Apache-2.0
// Machine files: values, links, and all mistakes at once.
#include "plan/machine.hpp"

#include <gmock/gmock.h>

#include "unit_tests/plan/machine_for_tests.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;

TEST(Machine, Values) {
  const Machine machine = read_machine(example_machine, "a.in");
  EXPECT_EQ(machine.file, "a.in");
  EXPECT_EQ(machine.rank.matrix_products, 100e9);
  EXPECT_EQ(machine.rank.attention, 50e9);
  EXPECT_EQ(machine.rank.scan, 25e9);
  EXPECT_EQ(machine.rank.kernel_bandwidth, 20e9);
  EXPECT_EQ(machine.rank.memory_bandwidth, 10e9);
  EXPECT_EQ(machine.ranks_per_node, 4);
  EXPECT_EQ(machine.node.latency, 1e-6);
  EXPECT_EQ(machine.node.bandwidth, 5e9);
  EXPECT_EQ(machine.node.overlap, 0);
  EXPECT_TRUE(machine.has_network);
  EXPECT_EQ(machine.network.latency, 4e-6);
  EXPECT_EQ(machine.network.bandwidth, 1e9);
  EXPECT_EQ(machine.network.overlap, 0.5);
  EXPECT_EQ(machine.file_bandwidth, 2e8);
}

TEST(Machine, ItsTextReadsBack) {
  const Machine machine = read_machine(example_machine, "a.in");
  const Machine again = read_machine(machine_text(machine), "b.in");
  EXPECT_EQ(machine_text(again), machine_text(machine));
  EXPECT_EQ(again.network.overlap, machine.network.overlap);
  EXPECT_EQ(again.rank.scan, machine.rank.scan);
  EXPECT_EQ(again.rank.precision, Precision::float32);
  Machine narrow = machine;
  narrow.rank.precision = Precision::bfloat16;
  EXPECT_EQ(read_machine(machine_text(narrow), "d.in").rank.precision, Precision::bfloat16);
  Machine island = machine;
  island.has_network = false;
  EXPECT_FALSE(read_machine(machine_text(island), "c.in").has_network);
}

TEST(Machine, LinksOfGroups) {
  Machine machine = read_machine(example_machine, "a.in");  // 4 ranks per node
  EXPECT_EQ(&machine.link(4, 1), &machine.node);
  EXPECT_EQ(&machine.link(2, 2), &machine.node);
  EXPECT_EQ(&machine.link(5, 1), &machine.network);
  EXPECT_EQ(&machine.link(2, 4), &machine.network);
  machine.has_network = false;
  EXPECT_EQ(&machine.link(4, 1), &machine.node);
  const auto message = message_of<InputError>([&] { machine.link(8, 1); });
  contains(message, "a.in");
  contains(message, "<network>");
}

TEST(Machine, AllMistakesAtOnce) {
  const auto message = message_of<InputError>([] {
    read_machine(
        "<rank>\n"
        "matrix_product = 1e9\n"    // no such key
        "attention = -1\n"          // not positive
        "scan = fast\n"             // no number
        "kernel_bandwidth = 1e9\n"  // memory_bandwidth is missing
        "<node>\n"
        "ranks = 0\n"
        "latency = 1e-6\n"
        "bandwidth = 1e9\n"
        "overlap = 1.5\n"
        "<network>\n"
        "latency = 1e-6\n"  // bandwidth is missing
        "<nodes>\n",        // no such block; <files> is missing
        "wrong.in");
  });
  for (const char* part :
       {"wrong.in:2", "matrix_products", "wrong.in:3", "wrong.in:4", "memory_bandwidth",
        "wrong.in:7", "wrong.in:10", "<network>/bandwidth", "<nodes>", "<files>/bandwidth"})
    contains(message, part);
}

TEST(Machine, NothingIsNotAMachine) {
  EXPECT_THROW(read_machine("", "empty.in"), InputError);
  EXPECT_THROW(read_machine("<job>\nname = x\n", "deck.in"), InputError);
}

}  // namespace
}  // namespace elastic::test
