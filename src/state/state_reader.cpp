// SPDX-License-Identifier: Apache-2.0
#include "state/state_reader.hpp"

#include "io/stored_values.hpp"
#include "state/finite_numbers.hpp"

namespace elastic {

namespace {

void require_extents(const CheckpointReader& file, const StateTensor& tensor) {
  const auto& found = file.info(tensor.name).extents;
  if (found == tensor.extents) return;
  throw InputError(fmt::format("{}: {} is {}, expected {}", file.path().string(), tensor.name,
                               to_string(found), to_string(tensor.extents)));
}

/// What is computed with is finite, whatever the hashes say.
void require_finite(const CheckpointReader& file, const StateTensor& tensor, const char* data,
                    std::size_t bytes) {
  if (const auto wrong = first_not_finite(tensor.type, data, bytes))
    throw NumericsError(fmt::format("{}: {}: a value is {}, expected finite numbers",
                                    file.path().string(), tensor.name, wrong->value));
}

}  // namespace

void StateReader::tensors(const StateTensors& wanted) const {
  bool in_blocks = false;  // in a file of format 1 a tensor has one hash
  agree([&] { in_blocks = is_sealed(m_file->path()); });
  if (m_grid && m_grid->world.size() > 1 && in_blocks) return read_together(wanted);
  agree([&] { read_alone(wanted); });
}

Sharers StateReader::sharers() const {
  if (!m_grid) return {};
  return {m_grid->tensor.size(), m_grid->data_context.size()};
}

void StateReader::read_alone(const StateTensors& wanted) const {
  for (const auto& tensor : wanted)
    checkpoint::with_real_type(tensor.type, [&]<class Value>(Value*) {
      std::vector<Value> part(static_cast<std::size_t>(tensor.extents.size()));
      m_file->read(tensor.name, tensor.extents, part.data());
      require_finite(*m_file, tensor, reinterpret_cast<const char*>(part.data()),
                     part.size() * sizeof(Value));
      if (tensor.held.matrix.sharded())
        part = take_shard<Value>(part.data(), tensor.held.matrix, tensor.shard);
      tensor.store({0, static_cast<index_t>(part.size())},
                   reinterpret_cast<const char*>(part.data()));
    });
}

void StateReader::read_together(const StateTensors& wanted) const {
  std::vector<HeldTensor> held;
  std::vector<TensorBlock> blocks;
  agree([&] {
    for (const auto& tensor : wanted) {
      require_extents(*m_file, tensor);
      const Placement place{tensor.name, m_file->info(tensor.name).type, tensor.extents};
      for (index_t b = 0; b < place.num_blocks(); ++b)
        blocks.push_back({held.size(), place.rows_of(b)});
      held.push_back(tensor.held);
      if (tensor.stored_by_all) held.back().owners = nullptr;
    }
  });
  const BlockExchange exchange(m_grid->world, m_grid->tensor.size(), std::move(held), blocks);
  exchange.scatter(
      [&](std::size_t b, char* out) {
        const auto& tensor = wanted[blocks[b].tensor];
        checkpoint::with_real_type(tensor.type, [&]<class Value>(Value*) {
          m_file->read_block(tensor.name, blocks[b].rows, {0, tensor.extents.columns},
                             reinterpret_cast<Value*>(out));
        });
        require_finite(*m_file, tensor, out, exchange.bytes_of(b));
      },
      [&](std::size_t number, Range elements, const char* data) {
        wanted[number].store(elements, data);
      });
}

}  // namespace elastic
