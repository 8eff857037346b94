// SPDX-License-Identifier: Apache-2.0
// The weights of a Hugging Face folder:
// model.safetensors, or shards with model.safetensors.index.json.
#pragma once
#include "interop/safetensors.hpp"

namespace elastic {

/// Reads the tensors of all shards of a folder.
class HfWeights {
 public:
  /// Opens all shards. Throws InputError if a file is missing or damaged, a file name of the index
  /// leaves the folder, or index and shards disagree on any tensor.
  explicit HfWeights(const std::filesystem::path& folder);

  /// Where a tensor lies.
  struct Tensor {
    const SafetensorsReader* file = nullptr;
    const SafetensorsEntry* entry = nullptr;
  };
  const std::filesystem::path& folder() const { return m_folder; }
  /// All tensors by name.
  const std::map<std::string, Tensor>& tensors() const { return m_tensors; }
  /// The tensor of this name. Throws InputError naming the folder if there is none.
  const Tensor& at(const std::string& name) const;
  std::uint64_t bytes() const;

 private:
  void open_index(const std::filesystem::path& index);
  void add(std::unique_ptr<SafetensorsReader> file);

  std::filesystem::path m_folder;
  std::vector<std::unique_ptr<SafetensorsReader>> m_files;
  std::map<std::string, Tensor> m_tensors;
};

/// True for a name of a file in the same folder: no separator, no "..", not hidden.
bool is_plain_file_name(const std::string& name);

/// Writes tensors, in the given order, in files of at most `max_shard_bytes` each (a larger tensor
/// gets a file of its own). One file is called model.safetensors, more get an index.
class HfWeightsWriter {
 public:
  static constexpr std::uint64_t most_shard_bytes = 5'000'000'000;
  HfWeightsWriter(const std::filesystem::path& folder,
                  const std::vector<SafetensorsTensor>& tensors,
                  std::uint64_t max_shard_bytes = most_shard_bytes);
  /// Writes all bytes of one tensor; tensors may come in any order.
  void write(const std::string& name, const void* data);
  /// Completes all files, then the index. Throws RunError.
  void commit();

 private:
  std::filesystem::path m_folder;
  std::vector<SafetensorsWriter> m_files;
  std::vector<std::string> m_file_names;
  std::map<std::string, std::size_t> m_file_of;
  std::uint64_t m_total_bytes = 0;
};

}  // namespace elastic
