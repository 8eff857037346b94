// SPDX-License-Identifier: Apache-2.0
// What checkpoints cost: how much steps are delayed by saves that go on meanwhile and by saves that
// are waited for, and seconds per GB of copying, saving and loading.
//
//   mpirun -n RANKS measure_saves DECK FOLDER ROUNDS STEPS [block/key=value ...]
//
// A round is STEPS steps without a save, STEPS after a save was begun, STEPS after one that was
// waited for; the order changes from round to round. With STEPS = 0 only files are measured.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "base/region.hpp"
#include "comm/all_ranks_agree.hpp"
#include "comm/collectives.hpp"
#include "comm/mpi_environment.hpp"
#include "deck/parser.hpp"
#include "state/checkpoint_saver.hpp"
#include "state/state_checkpoint.hpp"
#include "train/train_step.hpp"

namespace elastic::bench {
namespace {

enum class Saves { none, meanwhile, waited_for };
constexpr const char* names[] = {"no save", "save meanwhile", "save waited for"};

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double least(std::vector<double> values) { return *std::min_element(values.begin(), values.end()); }

/// Processor time of this process besides that of the calling thread.
double seconds_of_other_threads() {
  const auto seconds = [](clockid_t clock) {
    timespec time;
    clock_gettime(clock, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  return seconds(CLOCK_PROCESS_CPUTIME_ID) - seconds(CLOCK_THREAD_CPUTIME_ID);
}

class Measurement {
 public:
  Measurement(const Communicator& world, const ResolvedDeck& deck,
              const std::filesystem::path& folder)
      : m_world(&world),
        m_config(&deck.config),
        m_grid(world, parallel_sizes(deck.config)),
        m_curriculum(make_curriculum(deck.config)),
        m_state(make_parent<Real>(deck.config, m_grid, Weights::initial)),
        m_step(m_grid, deck.config, m_curriculum, m_arena),
        m_saver(m_grid),
        m_file(folder / "measure_saves.h5") {}
  ~Measurement() {
    std::error_code ignored;
    if (m_world->is_root()) std::filesystem::remove(m_file, ignored);
  }

  void steps(int rounds, int count) {
    m_step.run(m_state);  // makes the arena
    save(true);           // makes the copy's memory
    for (int round = 0; round < rounds; ++round)
      for (int i = 0; i < 3; ++i) {
        const auto how = static_cast<Saves>((round + i) % 3);
        m_seconds[static_cast<int>(how)].push_back(steps_with(how, count) / count);
        m_saver.wait();
      }
    if (!m_world->is_root()) return;
    for (int how = 0; how < 3; ++how) {
      const auto change = [&](double (*of)(std::vector<double>)) {
        return 100 * (of(m_seconds[how]) / of(m_seconds[0]) - 1);
      };
      std::printf("%-16s seconds per step: median %.3f (%+.1f%%), least %.3f (%+.1f%%); rounds",
                  names[how], median(m_seconds[how]), change(median), least(m_seconds[how]),
                  change(least));
      for (const double seconds : m_seconds[how]) std::printf(" %.3f", seconds);
      std::printf("\n");
    }
    // On a machine that others use, these two are steadier than the difference of two times: steps
    // are delayed by the first, and by no more than their sum where no core is idle.
    const double step = count * least(m_seconds[0]);
    std::printf(
        "per save meanwhile: steps waited %.4f s (%.1f%%), its thread computed %.4f s (%.1f%%)\n",
        median(m_waited), 100 * median(m_waited) / step, median(m_threads),
        100 * median(m_threads) / step);
  }

  void files(int repetitions) {
    std::vector<double> copies, saves, loads;
    for (int i = 0; i < repetitions; ++i) {
      copies.push_back(timed([&] { save(false); }));
      m_saver.wait();
      saves.push_back(m_saver.last_seconds());
      loads.push_back(timed([&] { load(); }));
    }
    if (!m_world->is_root()) return;
    const double gb = static_cast<double>(std::filesystem::file_size(m_file)) / 1e9;
    std::printf(
        "%d ranks, file of %.3f GB; seconds per GB: copy %.2f, save in all %.2f, load %.2f\n",
        m_world->size(), gb, median(copies) / gb, median(saves) / gb, median(loads) / gb);
  }

 private:
  template <class Work>
  double timed(const Work& work) {
    barrier(*m_world);
    const double start = wall_seconds();
    work();
    return all_reduce_max(*m_world, wall_seconds() - start);
  }
  void save(bool waits) {
    m_saver.begin({.path = m_file,
                   .what = "measurement",
                   .fill = [&](const StateWriter& file) { write_state(file, m_state, "deck"); },
                   .prepare = {},
                   .committed = {}});
    if (waits) m_saver.wait();
  }
  double steps_with(Saves how, int count) {
    double waited = 0;
    const auto wait_for = [&](const auto& work) {
      const double start = wall_seconds();
      work();
      waited += wall_seconds() - start;
    };
    const double others = seconds_of_other_threads();
    const double seconds = timed([&] {
      if (how != Saves::none) wait_for([&] { save(how == Saves::waited_for); });
      for (int i = 0; i < count; ++i) {
        m_step.run(m_state);
        wait_for([&] { m_saver.poll(); });
      }
    });
    if (how == Saves::meanwhile) {
      m_waited.push_back(all_reduce_max(*m_world, waited));
      m_threads.push_back(all_reduce_max(*m_world, seconds_of_other_threads() - others));
    }
    return seconds;
  }
  void load() {
    std::optional<CheckpointReader> file;
    all_ranks_agree(*m_world, [&] { file.emplace(m_file); });
    read_state(StateReader(*file, m_grid), *m_config, m_state);
  }

  const Communicator* m_world;
  const RunConfig* m_config;
  ProcessGrid m_grid;
  Curriculum m_curriculum;
  Arena m_arena;
  TrainState<Real> m_state;
  TrainStep<Real> m_step;
  CheckpointSaver m_saver;
  std::filesystem::path m_file;
  std::vector<double> m_seconds[3], m_waited, m_threads;
};

void measure(const std::vector<std::string>& arguments) {
  if (arguments.size() < 4)
    throw InputError("measure_saves DECK FOLDER ROUNDS STEPS [block/key=value ...]");
  const Communicator world = Communicator::world();
  const ResolvedDeck deck = read_run_config(read_deck_file(arguments[0]), arguments[0],
                                            {arguments.begin() + 4, arguments.end()});
  const int rounds = std::stoi(arguments[2]), steps = std::stoi(arguments[3]);
  Measurement measurement(world, deck, arguments[1]);
  if (steps > 0) measurement.steps(rounds, steps);
  measurement.files(rounds);
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
    std::fprintf(stderr, "measure_saves: %s\n", error.what());
    elastic::abort_all_ranks(error.code());
  }
  return 0;
}
