// SPDX-License-Identifier: Apache-2.0
#include "state/checkpoint_saver.hpp"

#include <cstring>

#include "base/life_sign.hpp"
#include "base/region.hpp"
#include "comm/all_ranks_agree.hpp"
#include "comm/collectives.hpp"
#include "io/block_writer.hpp"
#include "state/finite_numbers.hpp"

namespace elastic {

namespace {
/// Blocks begin at multiples of this many bytes in memory.
constexpr std::size_t alignment = 64;
/// So much is written before it is forced to disk and read back.
constexpr std::size_t bytes_between_syncs = std::size_t(256) << 20;
std::size_t aligned(std::size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }
}  // namespace

CheckpointSaver::~CheckpointSaver() { give_up(); }

void CheckpointSaver::give_up() {
  m_given_up = true;
  if (m_thread.joinable()) m_thread.join();
  m_given_up = false;
  m_stage = Stage::none;
  m_file.reset();
  m_request = {};
}

void CheckpointSaver::begin(SaveRequest request) {
  wait();
  m_started = wall_seconds();
  m_request = std::move(request);
  try {
    all_ranks_agree(m_grid->world, [&] {
      if (!is_root()) return;
      if (m_request.prepare) m_request.prepare();
      m_file = std::make_unique<CheckpointWriter>(m_request.path);
    });
    StateTensors tensors;
    const Sharers sharers{m_grid->tensor.size(), m_grid->data_context.size()};
    all_ranks_agree(m_grid->world, [&] {
      const StateWriter writer(m_file.get(), sharers, tensors);
      m_request.fill(writer);
      writer.finish();
      if (is_root()) open(tensors);
    });
    m_request.fill = nullptr;
    broadcast(m_grid->world, m_temporary);
    broadcast(m_grid->world, m_blocks);
    take_snapshot(tensors);
  } catch (...) {
    give_up();
    throw;
  }
  m_hashes.clear();
  start(Stage::writing, [this] { write_pieces(); });
}

/// Places all tensors in the file, and reserves its space.
void CheckpointSaver::open(const StateTensors& tensors) {
  m_placements.clear();
  m_blocks.clear();
  for (const auto& tensor : tensors) {
    m_placements.push_back(
        m_file->place(tensor.name, tensor.extents, tensor.type, {{"axes", tensor.axes}}));
    const auto number = static_cast<std::uint64_t>(m_placements.size() - 1);
    const Placement& place = m_placements.back();
    for (index_t b = 0; b < place.num_blocks(); ++b)
      m_blocks.push_back(
          {number, place.offset_of(b), place.rows_of(b).first, place.rows_of(b).second});
  }
  m_temporary = m_file->temporary().string();
  m_file->finish_structure();  // HDF5 is not for threads
}

void CheckpointSaver::take_snapshot(const StateTensors& tensors) {
  std::vector<HeldTensor> held;
  for (const auto& tensor : tensors) held.push_back(tensor.held);
  std::vector<TensorBlock> blocks;
  for (const auto& block : m_blocks)
    blocks.push_back({block.tensor, {block.first_row, block.end_row}});
  const BlockExchange exchange(m_grid->world, m_grid->tensor.size(), held, blocks);
  m_rank_of.clear();
  for (std::size_t b = 0; b < blocks.size(); ++b) m_rank_of.push_back(exchange.rank_of(b));

  const auto mine = exchange.mine();
  std::size_t bytes = 0;
  for (const std::size_t b : mine) bytes += aligned(exchange.bytes_of(b));
  all_ranks_agree(m_grid->world, [&] {
    if (bytes <= m_snapshot.size()) return;
    m_snapshot = {};  // given back before more is taken
    m_snapshot = decltype(m_snapshot)(
        Kokkos::view_alloc(Kokkos::WithoutInitializing, "elastic::checkpoint_snapshot"), bytes);
  });
  m_pieces.clear();
  std::vector<char*> places(blocks.size(), nullptr);
  char* at = m_snapshot.data();
  for (const std::size_t b : mine) {
    places[b] = at;
    m_pieces.push_back({m_blocks[b].offset, exchange.bytes_of(b), at});
    at += aligned(exchange.bytes_of(b));
  }
  exchange.gather(
      [&](std::size_t number, Range elements, char* out) { tensors[number].fetch(elements, out); },
      [&](std::size_t b) { return places[b]; });
  all_ranks_agree(m_grid->world, [&] {
    for (const std::size_t b : mine) {
      const auto& tensor = tensors[m_blocks[b].tensor];
      require_finite(m_request.path.string() + ": " + m_request.what, tensor, m_blocks[b].first_row,
                     places[b], exchange.bytes_of(b));
    }
  });
}

void CheckpointSaver::start(Stage stage, const std::function<void()>& work) {
  m_stage = stage;
  m_failure = nullptr;
  m_done = !work;
  if (!work) return;
  m_thread = std::thread([this, work] {
    try {
      work();
    } catch (...) {
      m_failure = std::current_exception();
    }
    m_done = true;
  });
}

/// In the thread.
void CheckpointSaver::write_pieces() {
  BlockWriter writer(m_temporary, BlockWriter::Mode::join);
  std::size_t unverified = 0;
  for (const auto& piece : m_pieces) {
    if (m_given_up) return;
    m_hashes.push_back(writer.write(piece.offset, piece.data, piece.bytes));
    note_progress();  // or a large file would look like a rank that hangs
    unverified += piece.bytes;
    if (unverified < bytes_between_syncs) continue;
    writer.sync_and_verify();
    note_progress();
    unverified = 0;
  }
  writer.sync_and_verify();
  writer.close();
}

bool CheckpointSaver::poll() {
  if (!under_way()) return true;
  if (all_reduce_min(m_grid->world, m_done ? 1 : 0) == 0) return false;
  advance();
  return !under_way();
}

void CheckpointSaver::wait() {
  while (under_way()) advance();
}

void CheckpointSaver::advance() {
  if (m_thread.joinable()) m_thread.join();
  try {
    agree_on_failure(m_grid->world, m_failure);
    if (m_stage == Stage::writing) {
      collect_hashes();
      // Forcing the rest to disk may take longer than a step should wait.
      return start(Stage::committing,
                   is_root() ? [this] { m_file->commit(); } : std::function<void()>());
    }
    all_ranks_agree(m_grid->world, [&] {
      if (is_root() && m_request.committed) m_request.committed();
    });
  } catch (...) {
    give_up();
    throw;
  }
  m_stage = Stage::none;
  m_file.reset();
  m_request = {};
  m_last_seconds = wall_seconds() - m_started;
}

void CheckpointSaver::collect_hashes() {
  const std::string mine(reinterpret_cast<const char*>(m_hashes.data()),
                         m_hashes.size() * sizeof(std::uint64_t));
  const auto all = gather_strings(m_grid->world, mine);
  all_ranks_agree(m_grid->world, [&] {
    if (is_root()) add_hashes(all);
  });
}

void CheckpointSaver::add_hashes(const std::vector<std::string>& all) {
  std::vector<std::size_t> next(all.size(), 0);  // bytes of every rank's that have been taken
  std::vector<std::vector<std::uint64_t>> of_tensor(m_placements.size());
  for (std::size_t b = 0; b < m_blocks.size(); ++b) {
    const auto rank = static_cast<std::size_t>(m_rank_of[b]);
    std::uint64_t hash = 0;
    std::memcpy(&hash, all[rank].data() + next[rank], sizeof hash);
    next[rank] += sizeof hash;
    of_tensor[m_blocks[b].tensor].push_back(hash);
  }
  for (std::size_t i = 0; i < m_placements.size(); ++i)
    m_file->add_hashes(m_placements[i], 0, of_tensor[i]);
}

}  // namespace elastic
