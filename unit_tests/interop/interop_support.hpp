// SPDX-License-Identifier: Apache-2.0
// Fixture folders of fixtures/make_hf_fixtures.py, models out of them, and tensors of files.
#pragma once
#include "interop/hf_export.hpp"
#include "interop/hf_import.hpp"
#include "model/slicing.hpp"
#include "unit_tests/io/io_support.hpp"
#include "unit_tests/model/model_problem.hpp"
#include "unit_tests/support/source_folder.hpp"

namespace elastic::test {

namespace fs = std::filesystem;

inline const std::vector<std::string> hf_models = {"groups", "gqa", "tied", "bf16", "fp16"};
inline fs::path hf_fixture(const std::string& name) { return fixtures_folder() / "hf" / name; }

/// All tensors of a folder or file: type, shape and bytes in one string, by name.
inline std::string spelled(const SafetensorsReader& file, const SafetensorsEntry& entry) {
  std::string bytes(entry.bytes(), '\0');
  file.read(entry, 0, bytes.size(), bytes.data());
  return describe(entry.type, entry.shape) + bytes;
}
inline std::map<std::string, std::string> tensors_of(const fs::path& folder) {
  const HfWeights weights(folder);
  std::map<std::string, std::string> result;
  for (const auto& [name, tensor] : weights.tensors())
    result[name] = spelled(*tensor.file, *tensor.entry);
  return result;
}

/// Numbers of a tensor in float.
template <class T>
std::vector<T> numbers(const fs::path& path, const std::string& name) {
  const SafetensorsReader file(path);
  const auto& entry = file.at(name);
  std::vector<char> bytes(entry.bytes());
  file.read(entry, 0, bytes.size(), bytes.data());
  const std::size_t count = bytes.size() / size_of(entry.type);
  std::vector<T> result(count);
  if (entry.type == ElementType::i64) {
    const auto* values = reinterpret_cast<const std::int64_t*>(bytes.data());
    std::transform(values, values + count, result.begin(), [](auto x) { return T(x); });
  } else {
    std::vector<float> values(count);
    convert_elements(entry.type, bytes.data(), count, ElementType::f32, values.data());
    std::copy(values.begin(), values.end(), result.begin());
  }
  return result;
}

/// Imports a folder and returns the checkpoint.
inline CheckpointReader import_to(const fs::path& path, const fs::path& hf) {
  CheckpointWriter writer(path);
  const HfFolder folder = open_hf_folder(hf);
  write_hf_origin(writer, folder.origin);
  write_hf_files(writer, hf);
  import_weights(folder, writer);
  writer.commit();
  return CheckpointReader(path);
}
inline ModelShape shape_of(const fs::path& hf) { return open_hf_folder(hf).config.shape; }

template <class T>
void load(const CheckpointReader& reader, const ParameterStore<T>& store) {
  for (const auto& p : store) assign(p.value, reader.read<T>("model/" + p.info.name));
}

/// The model of a folder on the tokens of a fixture.
template <class T>
struct HfProblem : ModelProblem<T> {
  HfProblem(const CheckpointReader& reader, const ModelShape& shape, const std::string& fixture)
      : ModelProblem<T>(shape, 2, {13}), expected(hf_fixture(fixture) / "expected.safetensors") {
    load(reader, this->model.parameters());
    this->tokens = to_device(numbers<token_t>(expected, "tokens"));
    this->targets = to_device(numbers<token_t>(expected, "targets"));
    Kokkos::deep_copy(this->weight, 1.0f);
  }
  fs::path expected;
};

/// The largest difference.
template <class T>
double distance(const std::vector<T>& a, const std::vector<T>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return largest;
}

}  // namespace elastic::test
