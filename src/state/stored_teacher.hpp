// SPDX-License-Identifier: Apache-2.0
// The files of the phase teach: which a deck needs, of which parent they are, and whether what is
// there can be used (doc/stored_teacher.md).
#pragma once
#include "comm/communicator.hpp"
#include "config/curriculum.hpp"
#include "io/teacher_file.hpp"

namespace elastic {

/// The file of one stage. Its blocks are the training samples 0, 1, ... of the stage.
struct StoredTeacher {
  std::string stage;
  std::filesystem::path path;
  TeacherLayout layout;
  /// Sequences that the stage trains on; those of steps that a guard may leave out included.
  index_t samples = 0;
  std::uint64_t stream = 0;  ///< of the stage's data
  std::vector<TeacherField> fields;

  double bytes() const;
  /// The fields with what identifies the parent; empty: not compared.
  std::vector<TeacherField> fields_of(const std::string& parent) const;
};

/// <teach>/folder, or teacher/ in the folder of the run.
std::filesystem::path teacher_folder(const RunConfig& config);
/// The elastic stages whose teacher is stored, also where the deck lists the phase teach only.
std::vector<StoredTeacher> stored_teachers(const RunConfig& config);
/// That of one stage.
StoredTeacher stored_teacher(const RunConfig& config, const Stage& stage);

/// Opens the file of a stage to be read. Throws InputError naming what is missing, damaged or of
/// another parent, deck or data, with what to do.
TeacherFile open_stored_teacher(const StoredTeacher& wanted, const std::string& parent = "");
/// Whether the whole file is there. Throws InputError if it is of another parent, deck or data.
bool is_stored(const StoredTeacher& wanted, const std::string& parent);

/// Collective. What identifies a parent: its values in this precision, tensor by tensor as sets, so
/// that no order of units changes it and every ranking of a parent can use its files.
/// 16 hexadecimal digits. Throws InputError naming the file.
std::string parent_identity(const Communicator& comm, const std::filesystem::path& file,
                            Precision precision);
/// As above, by one rank.
std::string parent_identity(const std::filesystem::path& file, Precision precision);

}  // namespace elastic
