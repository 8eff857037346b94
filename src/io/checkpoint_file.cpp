// SPDX-License-Identifier: Apache-2.0
// Writing and reading of checkpoints.
#include "io/checkpoint_file.hpp"

#include "io/checkpoint_manifest.hpp"
#include "io/durable_file.hpp"

#include <algorithm>

namespace elastic {

namespace {

template <class To, class From>
void convert(const From* from, std::size_t count, To* to) {
  std::transform(from, from + count, to, [](From x) { return static_cast<To>(x); });
}

/// Calls f with a null pointer to the C++ type of elements stored as a real type.
template <class F>
void with_real_type(StorageType type, const F& f) {
  switch (type) {
    case StorageType::float32:
      return f(static_cast<float*>(nullptr));
    case StorageType::float64:
      return f(static_cast<double*>(nullptr));
    case StorageType::bfloat16:
      return f(static_cast<bfloat16*>(nullptr));
    case StorageType::int64:
      break;
  }
  throw_contract("int64 is not a real type");
}

template <class T>
constexpr bool is_real = std::is_floating_point_v<T> || std::is_same_v<T, bfloat16>;

}  // namespace

// --- writing -------------------------------------------------------------------------------------

CheckpointWriter::CheckpointWriter(const std::filesystem::path& path)
    : m_path(path),
      m_temporary(temporary_name(path)),
      m_file(std::make_unique<Hdf5File>(Hdf5File::create(m_temporary))) {
  m_file->create_group("text");
  m_file->create_group("attributes");
}

CheckpointWriter::~CheckpointWriter() {
  if (!m_file) return;
  m_file.reset();
  std::error_code ignored;
  std::filesystem::remove(m_temporary, ignored);
}

template <class T>
void CheckpointWriter::write(const std::string& name, const Extents& extents, const T* data,
                             StorageType stored_as, const Attributes& attributes) {
  if (stored_as == storage_type_of<T>())
    return write_stored(name, extents, stored_as, data, attributes);
  ELASTIC_REQUIRE(is_real<T> && stored_as != StorageType::int64, "{} cannot be stored as {}", name,
                  name_of(stored_as));
  with_real_type(stored_as, [&]<class Stored>(Stored*) {
    std::vector<Stored> stored(static_cast<std::size_t>(extents.size()));
    convert(data, stored.size(), stored.data());
    write_stored(name, extents, stored_as, stored.data(), attributes);
  });
}

void CheckpointWriter::write_stored(const std::string& name, const Extents& extents,
                                    StorageType type, const void* data,
                                    const Attributes& attributes) {
  ELASTIC_REQUIRE(m_file, "{}: written after commit", m_path.string());
  ELASTIC_REQUIRE(!name.starts_with("text/") && !name.starts_with("attributes/"),
                  "reserved name {}", name);
  ELASTIC_REQUIRE(!m_file->exists(name), "{} is written twice", name);
  ELASTIC_REQUIRE(!attributes.contains(checkpoint::checksum_name), "{}: reserved attribute", name);
  m_file->write_dataset(name, type, extents, data);
  const auto hash =
      checkpoint::hash_of(data, static_cast<std::size_t>(extents.size()) * size_of(type));
  m_file->write_attribute(name, checkpoint::checksum_name, checkpoint::spell(hash));
  for (const auto& [key, value] : attributes) m_file->write_attribute(name, key, value);
}

void CheckpointWriter::attribute(const std::string& name, const Attribute& value) {
  ELASTIC_REQUIRE(m_file, "{}: written after commit", m_path.string());
  m_file->write_attribute("/attributes", name, value);
}

void CheckpointWriter::text(const std::string& name, const std::string& text) {
  ELASTIC_REQUIRE(m_file, "{}: written after commit", m_path.string());
  m_file->write_text("text/" + name, text);
}

void CheckpointWriter::commit() {
  ELASTIC_REQUIRE(m_file, "{}: committed twice", m_path.string());
  m_file->write_attribute("/", "format", std::string(checkpoint::format_name));
  m_file->write_attribute("/", "format_version", checkpoint::format_version);
  const auto manifest = checkpoint::manifest_of(*m_file, checkpoint::list_tensors(*m_file));
  m_file->write_attribute("/", checkpoint::manifest_name, manifest);
  m_file->close();
  commit_file(m_temporary, m_path);
  m_file.reset();
}

// --- reading -------------------------------------------------------------------------------------

CheckpointReader::CheckpointReader(const std::filesystem::path& path)
    : m_file(Hdf5File::open(path)) {
  const auto refuse = [&](const std::string& reason) {
    throw InputError(fmt::format("{}: {}", path.string(), reason));
  };
  if (!m_file.has_attribute("/", "format") ||
      m_file.read_attribute("/", "format") != Attribute(checkpoint::format_name))
    refuse("not a checkpoint of elastic.x (attribute format is missing or differs)");
  if (m_file.read_attribute("/", "format_version") != Attribute(checkpoint::format_version))
    refuse(fmt::format("another format version than {}: written by another version of elastic.x",
                       checkpoint::format_version));
  m_tensors = checkpoint::list_tensors(m_file);
  if (m_file.read_attribute("/", checkpoint::manifest_name) !=
      Attribute(checkpoint::manifest_of(m_file, m_tensors)))
    refuse(
        "damaged: names, extents, texts or attributes are not those that were written (manifest "
        "hash differs)");
}

const TensorInfo* CheckpointReader::find(const std::string& name) const {
  const auto at = std::lower_bound(
      m_tensors.begin(), m_tensors.end(), name,
      [](const TensorInfo& tensor, const std::string& n) { return tensor.name < n; });
  return at != m_tensors.end() && at->name == name ? &*at : nullptr;
}

const TensorInfo& CheckpointReader::info(const std::string& name) const {
  const TensorInfo* tensor = find(name);
  if (!tensor)
    throw InputError(fmt::format("{}: no tensor {} among its {} tensors", path().string(), name,
                                 m_tensors.size()));
  return *tensor;
}

void CheckpointReader::read_stored(const TensorInfo& tensor, void* out) const {
  m_file.read_block(tensor.name, Range(0, tensor.extents.rows), Range(0, tensor.extents.columns),
                    out);
  const auto hash = checkpoint::hash_of(
      out, static_cast<std::size_t>(tensor.extents.size()) * size_of(tensor.type));
  if (hash == tensor.checksum) return;
  throw InputError(fmt::format(
      "{}: {} is damaged: its bytes have the XXH3-64 hash {}, written was {}", path().string(),
      tensor.name, checkpoint::spell(hash), checkpoint::spell(tensor.checksum)));
}

void CheckpointReader::refuse_type(const TensorInfo& tensor, StorageType expected) const {
  throw InputError(fmt::format("{}: {} holds {}, expected {}", path().string(), tensor.name,
                               name_of(tensor.type), name_of(expected)));
}

template <class T>
void CheckpointReader::read(const std::string& name, const Extents& expected, T* out) const {
  const TensorInfo& tensor = info(name);
  if (tensor.extents != expected)
    throw InputError(fmt::format("{}: {} is {}, expected {}", path().string(), name,
                                 to_string(tensor.extents), to_string(expected)));
  if (tensor.type == storage_type_of<T>()) return read_stored(tensor, out);
  if (!is_real<T> || tensor.type == StorageType::int64) refuse_type(tensor, storage_type_of<T>());
  with_real_type(tensor.type, [&]<class Stored>(Stored*) {
    std::vector<Stored> stored(static_cast<std::size_t>(tensor.extents.size()));
    read_stored(tensor, stored.data());
    convert(stored.data(), stored.size(), out);
  });
}

void CheckpointReader::verify() const {
  std::vector<char> bytes;
  for (const auto& tensor : m_tensors) {
    bytes.resize(static_cast<std::size_t>(tensor.extents.size()) * size_of(tensor.type));
    read_stored(tensor, bytes.data());
  }
}

template <class T>
void CheckpointReader::read_block(const std::string& name, Range rows, Range columns,
                                  T* out) const {
  const TensorInfo& tensor = info(name);
  if (tensor.type == storage_type_of<T>()) return m_file.read_block(name, rows, columns, out);
  if (!is_real<T> || tensor.type == StorageType::int64) refuse_type(tensor, storage_type_of<T>());
  with_real_type(tensor.type, [&]<class Stored>(Stored*) {
    std::vector<Stored> stored(
        static_cast<std::size_t>((rows.second - rows.first) * (columns.second - columns.first)));
    m_file.read_block(name, rows, columns, stored.data());
    convert(stored.data(), stored.size(), out);
  });
}

std::vector<std::string> CheckpointReader::texts() const {
  std::vector<std::string> names = m_file.datasets("text");
  for (auto& name : names) name.erase(0, std::string("text/").size());
  return names;
}

#define ELASTIC_INSTANTIATE(T)                                                           \
  template void CheckpointWriter::write<T>(const std::string&, const Extents&, const T*, \
                                           StorageType, const Attributes&);              \
  template void CheckpointReader::read<T>(const std::string&, const Extents&, T*) const; \
  template void CheckpointReader::read_block<T>(const std::string&, Range, Range, T*) const;
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
ELASTIC_INSTANTIATE(index_t)
ELASTIC_INSTANTIATE(std::uint16_t)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
