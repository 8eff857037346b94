// SPDX-License-Identifier: Apache-2.0
#include "state/state_writer.hpp"

#include "comm/all_ranks_agree.hpp"

namespace elastic {

void write_together(const Communicator& world, const Communicator& owners, const SaveFile& save,
                    const FillFile& fill) {
  bool took_part = false;
  const auto take_part = [&](CheckpointWriter* file) {
    took_part = true;
    const StateWriter writer(file, owners);
    fill(writer);
    writer.finish();
  };
  std::exception_ptr failure;
  try {
    if (world.is_root()) save([&](CheckpointWriter& file) { take_part(&file); });
  } catch (...) {
    failure = std::current_exception();
  }
  if (!took_part) take_part(nullptr);  // the others wait for this rank's tensors
  agree_on_failure(world, failure);
}

void write_together(const Communicator& world, const Communicator& owners,
                    const std::filesystem::path& path, const FillFile& fill) {
  const SaveFile save = [&](const auto& body) {
    CheckpointWriter file(path);
    body(file);
    file.commit();
  };
  write_together(world, owners, save, fill);
}

}  // namespace elastic
