// SPDX-License-Identifier: Apache-2.0
// Writes a file of a run from all ranks at once, while the run goes on.
//
//   CheckpointSaver saver(grid);
//   saver.begin({.path = path, .what = "step 100", .fill = fill});   // what is saved is now a copy
//   ... steps; saver.poll() after each ...
//   saver.wait();
//
// Every rank copies the blocks that it will write to the host (parallel/block_exchange), and looks
// whether all numbers are finite. A thread of each rank, which knows neither MPI nor HDF5, writes
// its blocks, forces them to disk and reads them back. When all are done, that of rank 0 adds their
// hashes and what HDF5 needs, and gives the file its name.
//
// The memory of the copy is kept for the next save.
#pragma once
#include <atomic>
#include <thread>

#include "parallel/process_grid.hpp"
#include "state/state_writer.hpp"

namespace elastic {

/// A file to be written.
struct SaveRequest {
  std::filesystem::path path;
  std::string what;  ///< of the run: "step 100"; for messages
  /// Called on all ranks: what the file holds.
  FillFile fill;
  /// Called on rank 0 before the file is opened, and once it has its name; may be empty.
  std::function<void()> prepare, committed;
};

class CheckpointSaver {
 public:
  /// `grid` must outlive this object.
  explicit CheckpointSaver(const ProcessGrid& grid) : m_grid(&grid) {}
  /// Gives up a save under way: its file never gets its name.
  ~CheckpointSaver();
  CheckpointSaver(const CheckpointSaver&) = delete;
  CheckpointSaver& operator=(const CheckpointSaver&) = delete;

  // All functions are collective over the grid; an error of one rank is thrown on all, and the file
  // that `path` named before is then as it was. RunError names the file; NumericsError what, file,
  // tensor and element where a number is not finite.

  /// Waits for the save before, then copies all that the file will hold: what `fill` referred to
  /// may change when this returns.
  void begin(SaveRequest request);
  /// Completes a save whose writing is done on all ranks; false while one is under way. Costs one
  /// sum of an integer, and nothing if none is under way.
  bool poll();
  /// Waits until no save is under way.
  void wait();
  /// Writes a file and waits for it.
  void save(SaveRequest request) {
    begin(std::move(request));
    wait();
  }

  /// Whether a save was begun that is not completed. Equal on all ranks.
  bool under_way() const { return m_stage != Stage::none; }
  /// Seconds from begin() until the file had its name, of the save completed last; 0 before.
  double last_seconds() const { return m_last_seconds; }
  /// Bytes of this rank's copy; they stay allocated.
  std::size_t snapshot_bytes() const { return m_snapshot.size(); }

 private:
#ifdef KOKKOS_HAS_SHARED_HOST_PINNED_SPACE
  using SnapshotSpace = Kokkos::SharedHostPinnedSpace;
#else
  using SnapshotSpace = HostSpace;
#endif
  /// What threads do: those of all ranks write and verify blocks; then that of rank 0 writes the
  /// rest and gives the file its name.
  enum class Stage { none, writing, committing };
  /// A block as the ranks know it.
  struct Block {
    std::uint64_t tensor, offset;
    index_t first_row, end_row;
  };
  /// What this rank writes.
  struct Piece {
    std::uint64_t offset;
    std::size_t bytes;
    const char* data;
  };

  bool is_root() const { return m_grid->world.is_root(); }
  void open(const StateTensors& tensors);
  void take_snapshot(const StateTensors& tensors);
  void start(Stage stage, const std::function<void()>& work);
  void write_pieces();
  void advance();
  void collect_hashes();
  void add_hashes(const std::vector<std::string>& all);
  void give_up();

  const ProcessGrid* m_grid;
  Stage m_stage = Stage::none;
  SaveRequest m_request;
  double m_started = 0, m_last_seconds = 0;
  std::unique_ptr<CheckpointWriter> m_file;  // on rank 0; of its thread while there is one
  std::vector<Placement> m_placements;       // on rank 0
  std::string m_temporary;
  std::vector<Block> m_blocks;
  std::vector<int> m_rank_of;  // who writes which block
  Kokkos::View<char*, SnapshotSpace> m_snapshot;
  std::vector<Piece> m_pieces;

  std::thread m_thread;  // has the following until m_done
  std::vector<std::uint64_t> m_hashes;
  std::exception_ptr m_failure;
  std::atomic<bool> m_done{false}, m_given_up{false};
};

}  // namespace elastic
