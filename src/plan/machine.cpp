// SPDX-License-Identifier: Apache-2.0
#include "plan/machine.hpp"

#include "base/error.hpp"
#include "deck/resolve.hpp"

namespace elastic {
namespace {

KeyOptions needed(const char* unit, const char* help) {
  return {.required = true, .unit = unit, .range = Interval::positive(), .help = help};
}

void bind_link(SchemaBlock& block, Link& link) {
  block.bind("latency", &link.latency,
             {.required = true,
              .unit = "s",
              .range = Interval::at_least(0),
              .help = "Time of a message without content."});
  block.bind("bandwidth", &link.bandwidth,
             needed("B/s", "Of one rank in each direction, while all send and receive."));
  block.bind("overlap", &link.overlap,
             {.unit = "1",
              .range = Interval::between(0, 1),
              .help = "Part of the time of travelling gradients that computing hides."});
}

void bind_machine(Schema& schema, Machine& machine) {
  RankRates& rank = machine.rank;
  schema.block("rank", "Rates of one rank while all ranks of its node work.")
      .bind("precision", &rank.precision,
            {{"float32", Precision::float32}, {"bfloat16", Precision::bfloat16}},
            {.help = "Of values and activations at these rates."})
      .bind("matrix_products", &rank.matrix_products, needed("FLOP/s", "Of matrix products."))
      .bind("attention", &rank.attention,
            needed("FLOP/s", "Inside attention, without its projections."))
      .bind("scan", &rank.scan, needed("FLOP/s", "Of the state-space scan."))
      .bind("kernel_bandwidth", &rank.kernel_bandwidth,
            needed("B/s", "Of kernels on activations: norms, convolution, activation functions."))
      .bind("memory_bandwidth", &rank.memory_bandwidth,
            needed("B/s", "On arrays as large as the model: optimizer, sums."));
  auto& node = schema.block("node", "Ranks of a node, and messages between them.");
  node.bind("ranks", &machine.ranks_per_node,
            {.required = true, .unit = "1", .range = Interval::at_least(1), .help = "Of a node."});
  bind_link(node, machine.node);
  bind_link(schema.optional_block("network", "Messages between ranks of different nodes."),
            machine.network);
  schema.block("files", "The file system.")
      .bind("bandwidth", &machine.file_bandwidth,
            needed("B/s", "Of one file that one rank writes."))
      .bind("total_bandwidth", &machine.total_file_bandwidth,
            {.unit = "B/s",
             .range = Interval::positive(),
             .help = "Of one file that all ranks of a run write."})
      .bind("copy_bandwidth", &machine.copy_bandwidth,
            {.unit = "B/s",
             .range = Interval::positive(),
             .help = "At which a rank copies what it will write of a checkpoint to the host."});
}

}  // namespace

const Link& Machine::link(index_t group_size, index_t stride) const {
  if (group_size * stride <= ranks_per_node) return node;
  if (!has_network)
    throw InputError(
        fmt::format("{}: a group of {} ranks, each {} from the next, spans nodes of {} ranks; "
                    "expected a block <network> with latency and bandwidth",
                    file, group_size, stride, ranks_per_node));
  return network;
}

Machine read_machine(const std::string& text, const std::string& file) {
  Machine machine;
  Schema schema;
  bind_machine(schema, machine);
  const Deck deck(text, file);
  resolve(deck, schema).throw_if_any();
  machine.file = file;
  machine.has_network = deck.has_block("network");
  return machine;
}

std::string machine_text(const Machine& machine) {
  const RankRates& rank = machine.rank;
  const auto link_lines = [](const Link& link) {
    return fmt::format(
        "latency           = {:.3g}\nbandwidth         = {:.3g}\noverlap           = {:.3g}\n",
        link.latency, link.bandwidth, link.overlap);
  };
  std::string text = fmt::format(
      "<rank>\n"
      "precision         = {}\n"
      "matrix_products   = {:.4g}\n"
      "attention         = {:.4g}\n"
      "scan              = {:.4g}\n"
      "kernel_bandwidth  = {:.4g}\n"
      "memory_bandwidth  = {:.4g}\n\n"
      "<node>\n"
      "ranks             = {}\n{}",
      rank.precision == Precision::bfloat16 ? "bfloat16" : "float32", rank.matrix_products,
      rank.attention, rank.scan, rank.kernel_bandwidth, rank.memory_bandwidth,
      machine.ranks_per_node, link_lines(machine.node));
  if (machine.has_network) text += "\n<network>\n" + link_lines(machine.network);
  return text + fmt::format(
                    "\n<files>\nbandwidth         = {:.3g}\ntotal_bandwidth   = {:.3g}\n"
                    "copy_bandwidth    = {:.3g}\n",
                    machine.file_bandwidth, machine.total_file_bandwidth, machine.copy_bandwidth);
}

}  // namespace elastic
