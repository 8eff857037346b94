// SPDX-License-Identifier: Apache-2.0
// elastic.x DECK [block/key=value ...]   runs the phases of a deck; verbs work on checkpoint files.
//
//   1  MPI and Kokkos up
//   2  command line
//   3  deck read on rank 0 and broadcast
//   4  all mistakes at once
//   5  --check: plan and stop
//   6  run
//   7  one message, and a documented exit code (base/error.hpp) on every rank
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <iostream>

#include "base/log.hpp"
#include "base/version.hpp"
#include "base/view_layout.hpp"
#include "comm/all_ranks_agree.hpp"
#include "comm/collectives.hpp"
#include "comm/watchdog.hpp"
#include "deck/parser.hpp"
#include "plan/memory_limit.hpp"
#include "plan/run_plan.hpp"
#include "run/folder/run_precision.hpp"
#include "run/run.hpp"
#include "verbs/verbs.hpp"

namespace elastic {
namespace {

struct CommandLine {
  std::string deck, machine;
  std::vector<std::string> overrides;
  int planned_ranks = 0;
  bool check = false, keys = false, markdown = false;
  RunOptions run;
  std::string keys_block;
  VerbOptions verb;
};

void add_resume_flags(CLI::App& app, RunOptions& run) {
  auto* resume =
      app.add_flag("--resume", run.resume, "Continue from the newest checkpoint of the run folder");
  auto* fallback = app.add_flag("--allow-fallback", run.resuming.allow_fallback,
                                "With --resume: where the newest checkpoint is damaged, take the "
                                "newest that is not (checkpoint/allow_fallback)");
  auto* from = app.add_option("--from", run.resuming.from,
                              "With --resume: go back to the checkpoint of this step; what was "
                              "saved after it is moved to the folder abandoned")
                   ->check(CLI::NonNegativeNumber)
                   ->type_name("STEP");
  auto* changes = app.add_flag("--accept-changes", run.resuming.accept_changes,
                               "With --resume: go on although the deck differs in keys that "
                               "decided the steps done");
  for (auto* option : {fallback, from, changes}) option->needs(resume);
  app.add_flag("--break-lock", run.break_lock,
               "Take the run folder from a run on another machine of which it is not known whether "
               "it still goes on");
}

/// Fills `line`; returns an exit code if there is nothing left to do.
std::optional<int> parse_command_line(int argc, char** argv, bool speaks, CommandLine& line) {
  CLI::App app(
      "Trains elastic hybrid Mamba-2 / attention / MLP language models: one parent, many nested "
      "submodels.",
      "elastic.x");
  app.set_version_flag("--version", fmt::format("elastic.x {} ({}, Kokkos {})", project_version,
                                                build_type, kokkos_version));
  app.add_option("deck", line.deck, "Input deck, e.g. input/quickstart.in");
  app.add_option("overrides", line.overrides,
                 "Deck values from the command line: block/key=value ...");
  app.add_flag("--check", line.check, "Check the deck, print the plan, sizes and costs, and stop");
  auto* machine = app.add_option("--machine", line.machine,
                                 "With --check: predict times on the machine that this file "
                                 "describes (benchmarks/scaling/README.md)");
  auto* planned_ranks = app.add_option("--ranks", line.planned_ranks,
                                       "With --check: plan for this many ranks, not those started")
                            ->check(CLI::Range(1, 1 << 20));
  for (auto* option : {machine, planned_ranks}) option->needs("--check");
  add_resume_flags(app, line.run);
  app.add_option_function<std::string>(
      "--walltime", [&](const auto& time) { line.overrides.push_back("job/walltime=" + time); },
      "Save and stop before this time is up: MM, HH:MM:SS or D-HH:MM:SS (job/walltime)");
  auto* keys = app.add_option("--keys", line.keys_block,
                              "Print the reference of all deck keys, or of one block")
                   ->expected(0, 1);
  app.add_flag("--markdown", line.markdown, "With --keys: as Markdown");
  add_verbs(app, line.verb);
  app.require_subcommand(0, 1);
  app.footer(
      "Exit codes: 0 done, 1 wrong input, 2 failure while running, 3 numbers not finite, 85 "
      "stopped and resumable.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return speaks ? app.exit(error) : 0;
    if (speaks)
      std::fprintf(stderr, "elastic.x: %s\nRun elastic.x --help for the command line.\n",
                   error.what());
    return static_cast<int>(ExitCode::input);
  }
  line.keys = keys->count() > 0;
  if (line.keys || line.verb.verb != Verb::none || !line.deck.empty()) return std::nullopt;
  if (speaks) std::cout << app.help();
  return static_cast<int>(ExitCode::input);
}

std::string read_on_root(const Communicator& world, const std::string& file) {
  std::string text = all_ranks_agree(
      world, [&] { return world.is_root() ? read_deck_file(file) : std::string(); });
  broadcast(world, text);
  return text;
}

/// What --machine names, if anything.
std::optional<Machine> machine_of(const Communicator& world, const CommandLine& line) {
  if (line.machine.empty()) return std::nullopt;
  const std::string text = read_on_root(world, line.machine);
  return all_ranks_agree(world, [&] { return read_machine(text, line.machine); });
}

ResolvedDeck read_deck(const Communicator& world, const CommandLine& line, const Machine* machine) {
  const std::string text = read_on_root(world, line.deck);
  return read_with_precision(world, line.run, machine, [&](const auto&... chosen) {
    return read_run_config(text, line.deck, line.overrides, chosen...);
  });
}

std::string plan(const Communicator& world, const CommandLine& line, const ResolvedDeck& deck,
                 const Machine* machine) {
  const int ranks = line.planned_ranks > 0 ? line.planned_ranks : world.size();
  const auto sizes = parallel_sizes(deck.config);
  if (const int sharers = sizes.tensor * sizes.context; line.planned_ranks % sharers != 0)
    throw InputError(
        fmt::format("--ranks {}: expected a multiple of <parallel>/tensor_parallel_size * "
                    "context_parallel_size "
                    "= {}",
                    line.planned_ranks, sharers));
  return all_ranks_agree(world, [&] { return run_plan(deck, ranks, machine); });
}

ExitCode execute(Communicator& world, const CommandLine& line) {
  if (line.keys) {
    const std::string reference = run_config_reference(line.markdown, line.keys_block);
    if (world.is_root()) std::fputs(reference.c_str(), stdout);
    return ExitCode::success;
  }
  std::optional<StopSignal> signal;  // verbs that ask for none can be killed at any time
  if (line.verb.verb == Verb::evaluate || line.verb.verb == Verb::generate ||
      line.verb.verb == Verb::front)
    signal.emplace();
  if (line.verb.verb != Verb::none) return run_verb(world, line.verb);
  const auto planned = machine_of(world, line);  // 3
  const Machine* machine = planned ? &*planned : nullptr;
  const ResolvedDeck deck = read_deck(world, line, machine);  // 3, 4
  if (line.check)                                             // 5
    return log::info("{}", plan(world, line, deck, machine)), ExitCode::success;
  tell_precision(deck.config);
  // 6
  if constexpr (std::is_same_v<MemorySpace, HostSpace>)  // a device has a memory of its own
    all_ranks_agree(world, [&] { require_memory(deck.config, world.size(), machine_memory()); });
  world.set_deterministic(deck.config.job.deterministic);
  const Watchdog watchdog(world, deck.config.job.watchdog_seconds);
  return with_precision(deck.config.precision.compute,
                        [&]<class T>(T) { return Run<T>(world, deck, line.run).execute(); });
}

/// 7: prints an error once if all ranks failed alike; otherwise prints it here and ends the others.
int report_error(const Communicator& world, const std::string& message, ExitCode code) {
  constexpr double seconds_for_others = 10;
  const bool together = all_ranks_arrive(seconds_for_others);
  if (!together || world.is_root()) log::error("elastic.x: {}", message);
  if (!together) abort_all_ranks(code);
  return static_cast<int>(code);
}

int start(int argc, char** argv) {
  Communicator world = Communicator::world();
  log::initialize(world.rank());
  CommandLine line;
  // 2
  if (const auto code = parse_command_line(argc, argv, world.is_root(), line)) return *code;
  try {
    require_equal_view_layouts();
    return static_cast<int>(execute(world, line));
  } catch (const Error& error) {
    return report_error(world, error.what(), error.code());
  } catch (const std::exception& error) {
    return report_error(world, error.what(), ExitCode::runtime);
  }
}

/// Starts Kokkos with the arguments meant for it, --kokkos-..., and takes them out of the command
/// line: Kokkos itself would also answer --help.
void initialize_kokkos(int& argc, char** argv) {
  char** const first = std::stable_partition(argv + 1, argv + argc, [](const char* argument) {
    return !std::string_view(argument).starts_with("--kokkos-");
  });
  std::vector<char*> its_own(first, argv + argc);
  its_own.insert(its_own.begin(), argv[0]);
  argc = static_cast<int>(first - argv);
  int count = static_cast<int>(its_own.size());
  its_own.push_back(nullptr);
  Kokkos::initialize(count, its_own.data());
}

}  // namespace
}  // namespace elastic

int main(int argc, char** argv) {
  try {
    elastic::MpiEnvironment mpi(argc, argv);  // 1
    elastic::initialize_kokkos(argc, argv);
    const int code = elastic::start(argc, argv);
    Kokkos::finalize();
    return code;
  } catch (const elastic::Error& error) {
    std::fprintf(stderr, "elastic.x: %s\n", error.what());
    return static_cast<int>(error.code());
  }
}
