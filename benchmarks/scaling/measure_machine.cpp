// SPDX-License-Identifier: Apache-2.0
// Writes the machine file (src/plan/machine.hpp) of the machine it runs on, on all ranks at once.
// Rates come from layers of a deck's model, forward and backward;
// links from all-reduces as large as its activations.
//
//   mpirun -n RANKS measure_machine DECK [block/key=value ...] > machine.in
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/error.hpp"
#include "comm/collectives.hpp"
#include "comm/mpi_environment.hpp"
#include "deck/parser.hpp"
#include "io/durable_file.hpp"
#include "model/initialization.hpp"
#include "optim/adamw.hpp"
#include "scaling/kernel_clock.hpp"
#include "config/curriculum.hpp"
#include "plan/machine.hpp"
#include "plan/passes.hpp"
#include "run/folder/run_precision.hpp"
#include "train/micro_batches.hpp"
#include "train/token_sources.hpp"

namespace elastic::bench {
namespace {

/// The first layer of each kind, then as many more as it takes to fill more than caches.
ModelShape probe_shape(const ModelShape& whole, double tokens) {
  constexpr double enough_bytes = 2e9;  // read and written in a forward pass
  ModelShape shape = whole;
  shape.layers.clear();
  std::vector<LayerShape> others;
  for (const auto& layer : whole.layers) {
    const bool is_new = std::none_of(shape.layers.begin(), shape.layers.end(),
                                     [&](const LayerShape& l) { return l.kind == layer.kind; });
    (is_new ? shape.layers : others).push_back(layer);
  }
  for (const auto& layer : others) {
    if (sum_bytes * tokens * stack_work(shape, {.keeps_input = true}).elements > enough_bytes)
      break;
    shape.layers.push_back(layer);
  }
  return shape;
}

/// Forward pass, loss and backward pass of a micro-batch.
template <class T>
class Probe {
 public:
  Probe(const Communicator& world, const RunConfig& config, const Stage& stage)
      : m_config(config),
        m_tokens(static_cast<double>(config.parallel.micro_batch_size * stage.config.seq_length)),
        m_model(probe_shape(parent_shape(config), m_tokens)),
        m_pass{.seq_length = stage.config.seq_length,
               .stream_share = 1,
               .keeps_input = true,
               .soft_masks = false},
        m_batches(world, config, m_arena),
        m_batch(
            m_batches.load(make_batch(*make_source(config, stage.stream), Split::train, 0,
                                      config.parallel.micro_batch_size, stage.config.seq_length))) {
    initialize(m_model, config.init_std, 1);
  }

  void run() {
    const Arena::Scope scope(m_arena);
    const auto& context = m_batch.context;
    const auto widths = m_model.full_widths();
    auto pass = m_model.make_pass(Keep::everything);
    m_model.forward(context, widths, m_batch.tokens, pass);
    const auto dhidden =
        m_arena.template matrix<Accumulate<T>>(context.num_tokens(), widths.hidden);
    differentiate_losses<T>(context, m_model, pass.hidden, m_batch.targets, {},
                            {.tokens_per_chunk = m_config.parallel.logit_chunk_tokens}, 1, dhidden);
    m_model.backward(context, widths, m_batch.tokens, pass, dhidden);
    fence(context.exec, "elastic::probe");
  }
  Work work() const {
    return m_tokens * (forward_work(m_model.shape(), m_pass) + loss_work(m_model.shape(), false) +
                       backward_work(m_model.shape(), m_pass));
  }
  double activation_elements() const {
    return m_tokens * static_cast<double>(m_model.shape().hidden_size);
  }

 private:
  const RunConfig& m_config;
  double m_tokens;
  Arena m_arena;
  LanguageModel<T> m_model;
  PassOptions m_pass;
  MicroBatches m_batches;
  MicroBatch m_batch;
};

/// Operations or bytes per second, the mean of the ranks; 0 if there is nothing of the kind.
double mean_rate(const Communicator& comm, double amount, double seconds) {
  return all_reduce_sum(comm, seconds > 0 ? amount / seconds : 0.0) / comm.size();
}

template <class T>
void measure_passes(const Communicator& world, Probe<T>& probe, RankRates& rates) {
  constexpr int repetitions = 3;
  probe.run();
  barrier(world);
  const KernelClock clock;
  const double start = wall_seconds();
  for (int i = 0; i < repetitions; ++i) probe.run();
  const double all = wall_seconds() - start;
  const auto& kernels = KernelClock::seconds();
  const Work work = repetitions * probe.work();
  rates.matrix_products =
      mean_rate(world, work.products, all - kernels.attention - kernels.scan - kernels.other);
  rates.attention = mean_rate(world, work.attention, kernels.attention);
  rates.scan = mean_rate(world, work.scan, kernels.scan);
  rates.kernel_bandwidth = mean_rate(world, sizeof(T) * work.elements, kernels.other);
}

/// Measures AdamW on arrays that fit no cache.
void measure_memory(const Communicator& world, RankRates& rates) {
  constexpr index_t rows = 1 << 12, columns = 1 << 13;
  constexpr int repetitions = 4;
  ParameterStore<float> store;
  store.add({.name = "probe", .rows = rows, .columns = columns});
  store.allocate(true);
  AdamW<float> optimizer(store);
  const ExecutionSpace exec;
  optimizer.step(exec, {}, 1e-3, 1);
  fence(exec, "elastic::probe");
  barrier(world);
  const double start = wall_seconds();
  for (int i = 0; i < repetitions; ++i) optimizer.step(exec, {}, 1e-3, 2 + i);
  fence(exec, "elastic::probe");
  rates.memory_bandwidth =
      mean_rate(world, 7.0 * sizeof(float) * rows * columns * repetitions, wall_seconds() - start);
}

/// Median seconds of an all-reduce of `count` numbers in every group of `comm` at once.
double all_reduce_seconds(const Communicator& world, const Communicator& comm, index_t count) {
  constexpr int repetitions = 21;
  const View1<float> data("elastic::probe", count);
  std::vector<double> times;
  for (int i = 0; i < repetitions; ++i) {
    barrier(world);
    const double start = wall_seconds();
    all_reduce_sum(comm, data);
    times.push_back(wall_seconds() - start);
  }
  std::sort(times.begin(), times.end());
  return all_reduce_max(world, times[times.size() / 2]);
}

/// Inverts the formulas of plan/messages.hpp.
Link measure_link(const Communicator& world, const Communicator& comm, double elements) {
  const auto count = static_cast<index_t>(elements);
  const double p = comm.size(), rounds = std::ceil(std::log2(p)), bytes = sizeof(float) * elements;
  Link link;
  link.latency = all_reduce_seconds(world, comm, 1) / rounds;
  const double seconds = all_reduce_seconds(world, comm, count);
  const double by_ring = 2 * (p - 1) / p * bytes / (seconds - 2 * (p - 1) * link.latency),
               by_doubling = rounds * bytes / (seconds - rounds * link.latency);
  link.bandwidth = by_ring > 0 ? std::min(by_ring, by_doubling) : by_doubling;
  return link;
}

void measure_links(const Communicator& world, double elements, Machine& machine) {
  const Communicator node = world.split_by_node();
  const Communicator across = world.split(node.rank());  // one rank of each node
  machine.ranks_per_node = node.size();
  if (all_reduce_min(world, node.size()) != all_reduce_max(world, node.size()))
    throw InputError("nodes have different numbers of ranks; start as many on each");
  // Without neighbours, no messages are sent either.
  machine.node = node.size() > 1 ? measure_link(world, node, elements)
                                 : Link{.latency = 1e-6, .bandwidth = 1e10};
  machine.has_network = across.size() > 1;
  if (machine.has_network) machine.network = measure_link(world, across, elements);
}

/// Bytes per second of writing a file in the current folder.
double measure_files(const Communicator& world) {
  constexpr std::size_t bytes = std::size_t{256} << 20;
  double rate = 0;
  if (world.is_root()) {
    const std::filesystem::path file = "measure_machine.tmp";
    const double start = wall_seconds();
    write_file_durably(file, std::string(bytes, 'x'));
    rate = bytes / (wall_seconds() - start);
    std::filesystem::remove(file);
  }
  return all_reduce_max(world, rate);
}

void measure(const std::vector<std::string>& arguments) {
  if (arguments.empty()) throw InputError("measure_machine DECK [block/key=value ...]");
  const Communicator world = Communicator::world();
  const std::vector<std::string> overrides(arguments.begin() + 1, arguments.end());
  const ResolvedDeck deck = read_run_config(read_deck_file(arguments[0]), arguments[0], overrides);
  const Curriculum curriculum = make_curriculum(deck.config);
  const Precision told = deck.config.precision.compute;
  Machine machine;
  machine.rank.precision =
      told == Precision::automatic ? automatic_precision(world, deck.config, false).compute : told;
  with_precision(machine.rank.precision, [&]<class T>(T) {
    Probe<T> probe(world, deck.config, curriculum.stages.front());
    measure_passes(world, probe, machine.rank);
    measure_links(world, probe.activation_elements(), machine);
  });
  measure_memory(world, machine.rank);
  machine.file_bandwidth = measure_files(world);
  // Kinds that the model does not have take no time in it either.
  for (double* rate : {&machine.rank.attention, &machine.rank.scan})
    if (*rate == 0) *rate = machine.rank.matrix_products;
  if (world.is_root())
    std::printf("# measured on %d ranks with layers of %s; overlap is set by hand\n\n%s",
                world.size(), deck.config.job.name.c_str(), machine_text(machine).c_str());
}

}  // namespace
}  // namespace elastic::bench

int main(int argc, char** argv) {
  try {
    elastic::MpiEnvironment mpi(argc, argv);
    Kokkos::initialize(argc, argv);
    elastic::bench::measure({argv + 1, argv + argc});
    Kokkos::finalize();
  } catch (const elastic::Error& error) {
    std::fprintf(stderr, "measure_machine: %s\n", error.what());
    elastic::abort_all_ranks(error.code());
  }
  return 0;
}
