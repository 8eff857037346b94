// SPDX-License-Identifier: Apache-2.0
// The history of a run: a CSV file with fixed columns, one row per report,
// complete after every row.
//
//   HistoryWriter history("history.csv", {"step", "phase", "loss"});
//   history.append({step, "pretrain", loss});
//   ...
//   truncate_history_after("history.csv", "step", 100);   // before a resume from step 100
//
// Numbers are written with the fewest digits that give back the same double; NaN is an empty cell.
#pragma once
#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "base/types.hpp"
#include "io/disk_file.hpp"

namespace elastic {

using HistoryCell = std::variant<double, index_t, std::string>;

class HistoryWriter {
 public:
  /// Goes on with an existing file, of which it cuts off a last line without its end, or starts one
  /// with the header row. Throws InputError if the existing file has other columns, RunError if it
  /// cannot be written.
  HistoryWriter(const std::filesystem::path& path, std::vector<std::string> columns);

  /// Appends a row, one cell per column. Texts hold no comma, quote or line break (ContractError).
  /// Throws RunError if it cannot be written.
  void append(const std::vector<HistoryCell>& row);
  /// Forces all rows to disk: before a checkpoint that relies on them gets its name. Throws
  /// RunError.
  void sync() { m_file.sync(); }

 private:
  void write_line(const std::string& line);

  std::size_t m_num_columns;
  DiskFile m_file;
};

/// Removes the first row whose `column` exceeds `value`, all rows after it, and a last line without
/// its end. The file is replaced as a whole; without a file there is nothing to do.
/// Throws InputError for a file without that column, RunError if the new version cannot be written.
void truncate_history_after(const std::filesystem::path& path, const std::string& column,
                            double value);

/// A history as columns of text; a last line without its end is left out.
class History {
 public:
  /// Reads a file. Throws InputError naming file and line for a row with a wrong number of cells.
  explicit History(const std::filesystem::path& path);

  const std::vector<std::string>& columns() const { return m_columns; }
  std::size_t num_rows() const { return m_rows.size(); }
  /// A column. Empty cells give NaN. Throws InputError if there is no such column, or,
  /// for numbers, if a cell is no number.
  std::vector<std::string> texts(const std::string& column) const;
  std::vector<double> numbers(const std::string& column) const;

 private:
  std::size_t index_of(const std::string& column) const;

  std::filesystem::path m_path;
  std::vector<std::string> m_columns;
  std::vector<std::vector<std::string>> m_rows;
};

}  // namespace elastic
