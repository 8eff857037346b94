// SPDX-License-Identifier: Apache-2.0
#include "state/stored_teacher.hpp"

#include <algorithm>
#include <bit>

#include "comm/all_ranks_agree.hpp"
#include "comm/collectives.hpp"
#include "io/checkpoint_file.hpp"
#include "io/content_hash.hpp"

namespace elastic {
namespace {

const char* name_of(SourceKind source) {
  switch (source) {
    case SourceKind::reasoning:
      return "reasoning";
    case SourceKind::text:
      return "text";
    case SourceKind::indexed:
      return "indexed";
  }
  return "";
}

/// 64 bits that depend on all bits of x (Steele, Lea, Flood 2014: SplitMix64).
std::uint64_t mixed(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// Sums modulo 2^64 over the ranks.
std::uint64_t sum_over_ranks(const Communicator& comm, std::uint64_t x) {
  const auto low = all_reduce_sum(comm, static_cast<index_t>(x & 0xffffffffu)),
             high = all_reduce_sum(comm, static_cast<index_t>(x >> 32));
  return static_cast<std::uint64_t>(low) + (static_cast<std::uint64_t>(high) << 32);
}

/// Every `size`-th block of the model's tensors.
std::uint64_t identity_of_blocks(const CheckpointReader& file, Precision precision, Shard share) {
  constexpr std::string_view folder = "model/";
  std::uint64_t sum = 0;
  index_t number = 0;
  std::vector<float> values;
  for (const auto& tensor : file.tensors()) {
    if (tensor.name.compare(0, folder.size(), folder) != 0) continue;
    const std::uint64_t seed = content_hash(tensor.name);
    const Placement place{tensor.name, tensor.type, tensor.extents};
    for (index_t b = 0; b < place.num_blocks(); ++b, ++number) {
      if (number % share.size != share.rank) continue;
      const Range rows = place.rows_of(b);
      const index_t columns = tensor.extents.columns;
      values.resize(static_cast<std::size_t>((rows.second - rows.first) * columns));
      file.read_block(tensor.name, rows, {0, columns}, values.data());
      for (const float x : values) {
        const float stored = precision == Precision::bfloat16 ? static_cast<float>(bfloat16(x)) : x;
        sum += mixed(seed + std::bit_cast<std::uint32_t>(stored));
      }
    }
  }
  return sum;
}

}  // namespace

double StoredTeacher::bytes() const {
  return static_cast<double>(teacher_header_bytes) +
         static_cast<double>(samples) * static_cast<double>(layout.block_bytes());
}

std::vector<TeacherField> StoredTeacher::fields_of(const std::string& parent) const {
  auto all = fields;
  all.front().value = parent;
  return all;
}

std::filesystem::path teacher_folder(const RunConfig& config) {
  return config.teach.folder.empty() ? std::filesystem::path(config.job.run_folder()) / "teacher"
                                     : std::filesystem::path(config.teach.folder);
}

StoredTeacher stored_teacher(const RunConfig& config, const Stage& stage) {
  const index_t vocab = parent_shape(config).vocab_size,
                spare = config.guard.policy == GuardPolicy::rollback ? config.guard.limit : 0;
  StoredTeacher file{.stage = stage.config.name,
                     .path = teacher_folder(config) / (stage.config.name + ".teacher"),
                     .layout = {.top_k = config.teach.top_k,
                                .vocab_size = vocab,
                                .seq_length = stage.config.seq_length},
                     .samples = (stage.steps + spare) * stage.config.global_batch_size,
                     .stream = stage.stream,
                     .fields = {}};
  file.fields = {
      {"parent", "", "the ranked or unranked parent of this run"},
      {"top_k", fmt::format("{}", config.teach.top_k), "teach/top_k"},
      {"vocab_size", fmt::format("{}", vocab), "data/vocab_size"},
      {"temperature", fmt::format("{}", config.distill.temperature), "distill/temperature"},
      {"seq_length", fmt::format("{}", stage.config.seq_length), stage.config.name + "/seq_length"},
      {"source", name_of(config.data.source), "data/source"},
      {"seed", fmt::format("{}", config.job.seed), "job/seed"},
      {"stream", fmt::format("{}", stage.stream),
       "place of the stage in the plan, pretraining included"}};
  return file;
}

std::vector<StoredTeacher> stored_teachers(const RunConfig& config) {
  RunConfig whole = config;
  if (!whole.job.has(Phase::elastic)) whole.job.phases.emplace_back(phase_name(Phase::elastic));
  std::vector<StoredTeacher> files;
  for (const auto& stage : make_curriculum(whole).stages)
    if (stage.elastic && stage.config.teacher == TeacherKind::stored)
      files.push_back(stored_teacher(config, stage));
  return files;
}

TeacherFile open_stored_teacher(const StoredTeacher& wanted, const std::string& parent) {
  const std::string remedy = fmt::format(
      "; <{}>/teacher = stored reads it. Write it with the phase teach in job/phases, with the "
      "same "
      "parent, <data> and stages, or name the folder where it is in teach/folder",
      wanted.stage);
  TeacherFile file =
      TeacherFile::open(wanted.path, wanted.fields_of(parent), wanted.layout, remedy);
  if (file.samples() < wanted.samples)
    throw InputError(
        fmt::format("{}: holds {} sequences, expected {} for the steps of <{}>; the "
                    "phase teach adds those that are missing",
                    wanted.path.string(), file.samples(), wanted.samples, wanted.stage));
  return file;
}

bool is_stored(const StoredTeacher& wanted, const std::string& parent) {
  if (!std::filesystem::exists(wanted.path)) return false;
  return TeacherFile::open(wanted.path, wanted.fields_of(parent), wanted.layout).samples() >=
         wanted.samples;
}

std::string parent_identity(const Communicator& comm, const std::filesystem::path& file,
                            Precision precision) {
  const std::uint64_t mine = all_ranks_agree(comm, [&] {
    return identity_of_blocks(CheckpointReader(file), precision, {comm.rank(), comm.size()});
  });
  return spell_hash(sum_over_ranks(comm, mine));
}
std::string parent_identity(const std::filesystem::path& file, Precision precision) {
  return spell_hash(identity_of_blocks(CheckpointReader(file), precision, {}));
}

}  // namespace elastic
