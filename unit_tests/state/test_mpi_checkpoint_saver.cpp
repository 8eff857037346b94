// SPDX-License-Identifier: Apache-2.0
// Files that many ranks write and read together: equal for every layout, whole or not there at all,
// and what they hold is what was there when the save began.
#include "state/checkpoint_saver.hpp"

#include "comm/collectives.hpp"
#include "run/peak_memory.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {
namespace fs = std::filesystem;

struct Layout {
  int replicas, tensor, context;
  int ranks() const { return replicas * tensor * context; }
};
const std::vector<Layout> layouts = {{1, 1, 1}, {2, 1, 1}, {1, 2, 1}, {2, 2, 1}, {4, 2, 1},
                                     {1, 1, 2}, {3, 1, 1}, {1, 2, 2}, {2, 2, 2}, {8, 1, 1}};

/// A folder that all ranks know, removed at the end; in memory where there is such a place, since
/// every save forces its file to disk.
class CommonFolder {
 public:
  explicit CommonFolder(const Communicator& world) : m_world(&world) {
    const fs::path memory = "/dev/shm";
    const fs::path in = fs::exists(memory) ? memory : fs::temp_directory_path();
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    std::string name = (in / fmt::format("elastic_saver_{}_{}", ::getpid(), test->name())).string();
    broadcast(world, name);
    path = name;
    if (world.is_root()) fs::create_directories(path);
    barrier(world);
  }
  ~CommonFolder() {
    barrier(*m_world);
    std::error_code ignored;
    if (m_world->is_root()) fs::remove_all(path, ignored);
  }
  fs::path path;

 private:
  const Communicator* m_world;
};

/// body(grid, config, layout) on the first ranks that a layout needs, for all that the world has;
/// the other ranks wait.
template <class Body>
void on_layouts(const Communicator& world, const std::vector<std::string>& overrides,
                const Body& body) {
  for (const Layout& layout : layouts) {
    if (layout.ranks() > world.size()) continue;
    SCOPED_TRACE(fmt::format("{} replicas x {} tensor x {} context", layout.replicas, layout.tensor,
                             layout.context));
    auto all = overrides;
    all.push_back(fmt::format("parallel/tensor_parallel_size={}", layout.tensor));
    all.push_back(fmt::format("parallel/context_parallel_size={}", layout.context));
    const ResolvedDeck deck = small_deck(all);
    const bool takes_part = world.rank() < layout.ranks();
    const Communicator some = world.split(takes_part ? 0 : 1);
    if (takes_part) {
      const ProcessGrid grid(some, {.tensor = layout.tensor, .context = layout.context});
      body(grid, deck.config);
    }
    barrier(world);
  }
}

template <class T>
StateTensors all_tensors(const TrainState<T>& state, const Sharers& sharers) {
  const auto& parameters = state.model->parameters();
  StateTensors tensors = master_tensors("model/", parameters, *state.optimizer, sharers);
  const auto add = [&](StateTensors more) {
    std::move(more.begin(), more.end(), std::back_inserter(tensors));
  };
  add(moment_tensors("optimizer/model/", parameters, *state.optimizer, sharers));
  if (!state.elastic) return tensors;
  add(value_tensors("router/", state.elastic->router->parameters()));
  add(moment_tensors("optimizer/router/", state.elastic->router->parameters(),
                     *state.elastic->router_optimizer, sharers));
  return tensors;
}
Sharers sharers_of(const ProcessGrid& grid) {
  return {grid.tensor.size(), grid.data_context.size()};
}

/// Numbers of a whole tensor, known from its name.
std::vector<float> numbers_of(const StateTensor& tensor, std::uint32_t seed) {
  std::uint32_t hash = seed;
  for (const char c : tensor.name) hash = hash * 31 + static_cast<unsigned char>(c);
  return random_values<float>(tensor.extents.size(), hash, -2, 2);
}
std::vector<float> my_numbers(const StateTensor& tensor, std::uint32_t seed) {
  return take_shard<float>(numbers_of(tensor, seed).data(), tensor.held.matrix, tensor.shard);
}
template <class T>
void assign_state(const TrainState<T>& state, const ProcessGrid& grid, std::uint32_t seed) {
  for (const auto& tensor : all_tensors(state, sharers_of(grid))) {
    const auto numbers = my_numbers(tensor, seed);
    tensor.store({0, static_cast<index_t>(numbers.size())},
                 reinterpret_cast<const char*>(numbers.data()));
  }
}

template <class T>
TrainState<T> make_state(const ProcessGrid& grid, const RunConfig& config, std::uint32_t seed) {
  TrainState<T> state = make_parent<T>(config, grid, Weights::zero);
  state.step = 17;
  make_elastic(config, random_ranking(state.model->shape()), state);
  assign_state(state, grid, seed);
  return state;
}

template <class T>
SaveRequest request_for(const fs::path& path, const TrainState<T>& state) {
  return {.path = path,
          .what = fmt::format("step {}", state.step),
          .fill = [&state](const StateWriter& writer) { write_state(writer, state, "the deck"); },
          .prepare = {},
          .committed = {}};
}

/// A save that was refused has left the file with the bytes `before`, and the next one succeeds.
template <class T>
void expect_unharmed(CheckpointSaver& saver, const fs::path& path, const std::string& before,
                     const TrainState<T>& state) {
  const auto world = Communicator::world();
  barrier(world);
  EXPECT_EQ(bytes_of(path), before);
  EXPECT_FALSE(fs::exists(path.string() + ".tmp"));
  barrier(world);  // all have looked
  saver.save(request_for(path, state));
  EXPECT_EQ(bytes_of(path), before);
}

/// Every number that this rank holds is the one that was assigned.
template <class T>
void expect_state(const TrainState<T>& state, const ProcessGrid& grid, std::uint32_t seed) {
  const int replica = grid.data_context.rank();
  for (const auto& tensor : all_tensors(state, sharers_of(grid))) {
    const auto expected = my_numbers(tensor, seed);
    const auto expect = [&](Range elements) {
      std::vector<float> found(static_cast<std::size_t>(elements.second - elements.first));
      tensor.fetch(elements, reinterpret_cast<char*>(found.data()));
      EXPECT_TRUE(std::equal(found.begin(), found.end(), expected.begin() + elements.first))
          << tensor.name;
    };
    const Range all{0, static_cast<index_t>(expected.size())};
    if (!tensor.held.owners) expect(all);
    if (tensor.held.owners)
      tensor.held.owners(grid.tensor.rank(), all, [&](int owner, Range piece) {
        if (owner == replica) expect(piece);
      });
  }
  // Values of 16 bits are the roundings of all masters, also of those that others own.
  for (const auto& p : state.model->parameters())
    for (const auto& tensor : all_tensors(state, sharers_of(grid))) {
      if (tensor.name != "model/" + p.info.name) continue;
      auto expected = my_numbers(tensor, seed);
      if (!p.info.exact)
        for (float& x : expected) x = static_cast<float>(static_cast<T>(x));
      EXPECT_EQ(values_to_host(p), expected) << tensor.name;
    }
}

template <class T>
class CheckpointSaverOf : public testing::Test {};
using Types = testing::Types<float, bfloat16>;
TYPED_TEST_SUITE(CheckpointSaverOf, Types);

TYPED_TEST(CheckpointSaverOf, EveryLayoutWritesTheSameFileAndReadsIt) {
  using T = TypeParam;
  const auto world = Communicator::world();
  const CommonFolder folder(world);
  const auto first = folder.path / "first.h5", other = folder.path / "other.h5";
  int number = 0;
  on_layouts(world, {}, [&](const ProcessGrid& grid, const RunConfig& config) {
    const auto path = number++ == 0 ? first : other;
    CheckpointSaver saver(grid);
    saver.save(request_for(path, make_state<T>(grid, config, 3)));
    if (grid.world.is_root()) {
      EXPECT_EQ(bytes_of(path), bytes_of(first));
      CheckpointReader(path).verify();
    }
    const CheckpointReader file(path);
    auto state = make_parent<T>(config, grid, Weights::zero);
    read_state(StateReader(file, grid), config, state);
    EXPECT_EQ(state.step, 17);
    ASSERT_TRUE(state.elastic.has_value());
    expect_state(state, grid, 3);
    // Each rank by itself.
    auto alone = make_parent<T>(config, grid, Weights::zero);
    read_state(file, config, alone);
    expect_state(alone, grid, 3);
  });
}

TYPED_TEST(CheckpointSaverOf, ModelsAndSubmodelsOfEveryLayoutAreTheSameFiles) {
  using T = TypeParam;
  const auto world = Communicator::world();
  const CommonFolder folder(world);
  std::map<std::string, std::string> first;
  on_layouts(world, {}, [&](const ProcessGrid& grid, const RunConfig& config) {
    const auto state = make_state<T>(grid, config, 4);
    const auto spec = submodel_for(config, state, 0.5);
    CheckpointSaver saver(grid);
    const auto check = [&](const std::string& name, const FillFile& fill) {
      const auto path = folder.path / name;
      saver.save({.path = path, .what = "test", .fill = fill, .prepare = {}, .committed = {}});
      if (!grid.world.is_root()) return;
      const std::string bytes = bytes_of(path);
      EXPECT_EQ(first.emplace(name, bytes).first->second, bytes) << name;
    };
    check("parent.h5", [&](const StateWriter& writer) {
      write_model(writer, *state.model, "the deck", "parent");
      write_ranking(writer, state.elastic->ranking);
    });
    check("submodel.h5",
          [&](const StateWriter& writer) { write_sliced(writer, *state.model, spec, "the deck"); });
    const CheckpointReader file(folder.path / "parent.h5");
    LanguageModel<T> read(state.model->shape(), /*frozen=*/true, state.model->parallel());
    read_model(StateReader(file, grid), read);
    EXPECT_TRUE(bitwise_equal(read.parameters().values(), state.model->parameters().values()));
    EXPECT_TRUE(
        bitwise_equal(read.parameters().exact_values(), state.model->parameters().exact_values()));
  });
}

TYPED_TEST(CheckpointSaverOf, HoldsWhatWasThereWhenTheSaveBegan) {
  using T = TypeParam;
  const auto world = Communicator::world();
  const CommonFolder folder(world);
  const ResolvedDeck deck = small_deck();
  const ProcessGrid grid(world, {});
  auto state = make_state<T>(grid, deck.config, 5);
  CheckpointSaver saver(grid);
  saver.save(request_for(folder.path / "waited.h5", state));
  int committed = 0;
  auto request = request_for(folder.path / "meanwhile.h5", state);
  request.committed = [&] { ++committed; };
  saver.begin(std::move(request));
  assign_state(state, grid, 6);  // steps go on
  state.step = 18;
  while (!saver.poll()) {
  }
  EXPECT_TRUE(saver.poll());
  EXPECT_EQ(committed, world.is_root() ? 1 : 0);
  EXPECT_GT(saver.last_seconds(), 0);
  // A save that is begun while one is under way waits for that one.
  saver.begin(request_for(folder.path / "next.h5", state));
  saver.begin(request_for(folder.path / "last.h5", state));
  if (world.is_root()) {
    EXPECT_TRUE(fs::exists(folder.path / "next.h5"));
    EXPECT_FALSE(fs::exists(folder.path / "last.h5"));
  }
  saver.wait();
  if (!world.is_root()) return;
  EXPECT_EQ(bytes_of(folder.path / "waited.h5"), bytes_of(folder.path / "meanwhile.h5"));
  EXPECT_EQ(bytes_of(folder.path / "next.h5"), bytes_of(folder.path / "last.h5"));
  EXPECT_NE(bytes_of(folder.path / "next.h5"), bytes_of(folder.path / "waited.h5"));
}

TYPED_TEST(CheckpointSaverOf, RefusesNumbersThatAreNotFinite) {
  using T = TypeParam;
  const auto world = Communicator::world();
  const CommonFolder folder(world);
  const ResolvedDeck deck = small_deck();
  const ProcessGrid grid(world, {});
  const auto state = make_state<T>(grid, deck.config, 5);
  const auto path = folder.path / "state.h5";
  CheckpointSaver saver(grid);
  saver.save(request_for(path, state));
  const std::string before = bytes_of(path);
  constexpr float infinity = std::numeric_limits<float>::infinity();
  int refused = 0;
  for (const float wrong : {std::nanf(""), infinity, -infinity})
    for (const std::string name :
         {"model/layers.1.mixer.up_proj", "optimizer/model/v/layers.0.mixer.A_log",
          "optimizer/router/m/", "optimizer/model/m/final_norm.weight"}) {
      for (const auto& tensor : all_tensors(state, sharers_of(grid))) {
        if (!tensor.name.starts_with(name)) continue;
        const index_t last = tensor.extents.size() - 1;
        float right = 0;
        // Only its owner stores it.
        tensor.fetch({last, last + 1}, reinterpret_cast<char*>(&right));
        tensor.store({last, last + 1}, reinterpret_cast<const char*>(&wrong));
        const auto message =
            message_of<NumericsError>([&] { saver.save(request_for(path, state)); });
        tensor.store({last, last + 1}, reinterpret_cast<const char*>(&right));
        ++refused;
        contains(message, "step 17");
        contains(message, "state.h5");
        contains(message, tensor.name);
        contains(message, std::isnan(wrong) ? "nan" : "inf");
        contains(message, fmt::format("{}]", (tensor.extents.rank == 1 ? tensor.extents.rows
                                                                       : tensor.extents.columns) -
                                                 1));
        break;
      }
    }
  EXPECT_EQ(refused, 3 * 4);
  expect_unharmed(saver, path, before, state);
}

TEST(CheckpointSaver, AnErrorOfOneRankIsEveryonesAndLosesNothing) {
  const auto world = Communicator::world();
  const CommonFolder folder(world);
  const ResolvedDeck deck = small_deck();
  const ProcessGrid grid(world, {});
  const auto state = make_state<float>(grid, deck.config, 5);
  const auto path = folder.path / "state.h5", gone = folder.path / "gone";
  CheckpointSaver saver(grid);
  saver.save(request_for(path, state));
  const std::string before = bytes_of(path);
  // The folder is removed under the threads.
  if (world.is_root()) fs::create_directories(gone);
  saver.begin(request_for(gone / "state.h5", state));
  if (world.is_root()) fs::remove_all(gone);
  contains(message_of<RunError>([&] { saver.wait(); }), "gone/state.h5");
  // It was not there to begin with.
  contains(message_of<RunError>([&] { saver.begin(request_for(gone / "state.h5", state)); }),
           "gone/state.h5");
  // Whoever fills the file fails on rank 0, or prepares it there.
  auto request = request_for(path, state);
  request.fill = [&](const StateWriter& writer) {
    write_state(writer, state, "the deck");
    writer.write([](CheckpointWriter&) { throw RunError("no space for the text"); });
  };
  EXPECT_EQ(message_of<RunError>([&] { saver.begin(std::move(request)); }),
            "no space for the text");
  request = request_for(path, state);
  request.prepare = [] { throw RunError("no folder"); };
  EXPECT_EQ(message_of<RunError>([&] { saver.begin(std::move(request)); }), "no folder");
  expect_unharmed(saver, path, before, state);
}

TEST(CheckpointSaver, ASaveThatIsGivenUpLeavesNothing) {
  const auto world = Communicator::world();
  const CommonFolder folder(world);
  const ResolvedDeck deck = small_deck();
  const ProcessGrid grid(world, {});
  const auto state = make_state<float>(grid, deck.config, 5);
  {
    CheckpointSaver saver(grid);
    saver.begin(request_for(folder.path / "state.h5", state));
  }
  barrier(world);
  EXPECT_TRUE(fs::is_empty(folder.path));
}

TEST(CheckpointSaver, DamageSeenByOneReaderIsEveryones) {
  const auto world = Communicator::world();
  const CommonFolder folder(world);
  const ResolvedDeck deck = small_deck();
  const ProcessGrid grid(world, {});
  const auto state = make_state<float>(grid, deck.config, 5);
  const auto path = folder.path / "state.h5";
  CheckpointSaver(grid).save(request_for(path, state));
  const auto numbers = numbers_of(all_tensors(state, {})[1], 5);
  if (world.is_root()) {
    std::string bytes = bytes_of(path);
    const auto at =
        bytes.find(std::string(reinterpret_cast<const char*>(numbers.data()), 4 * numbers.size()));
    ASSERT_NE(at, std::string::npos);
    bytes[at + 5] = static_cast<char>(bytes[at + 5] ^ 1);
    write_bytes(path, bytes);
  }
  barrier(world);
  const CheckpointReader file(path);
  auto read = make_parent<float>(deck.config, grid, Weights::zero);
  const auto message =
      message_of<InputError>([&] { read_state(StateReader(file, grid), deck.config, read); });
  contains(message, "state.h5");
  contains(message, all_tensors(state, {})[1].name);
}

TEST(CheckpointSaver, CopiesAreSharedOutAndTheirMemoryIsKept) {
  const auto world = Communicator::world();
  const CommonFolder folder(world);
  const ResolvedDeck deck = small_deck();
  const ProcessGrid grid(world, {});
  const auto state = make_state<float>(grid, deck.config, 5);
  CheckpointSaver saver(grid);
  const auto path = folder.path / "state.h5";
  double settled = 0;
  for (int save = 1; save <= 45; ++save) {
    saver.begin(request_for(path, state));
    saver.wait();
    if (save == 5) settled = resident_bytes();
  }
  EXPECT_LT(resident_bytes(), 1.02 * settled);
  double bytes = 0, largest = 0;
  for (const auto& tensor : all_tensors(state, sharers_of(grid))) {
    const auto size = static_cast<double>(tensor.extents.size()) * sizeof(float);
    bytes += size;
    largest = std::max(largest, size);
  }
  EXPECT_LE(static_cast<double>(saver.snapshot_bytes()), bytes / world.size() + largest + 64 * 500);
}

}  // namespace
}  // namespace elastic::test
