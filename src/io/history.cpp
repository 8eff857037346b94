// SPDX-License-Identifier: Apache-2.0
// The history of a run as a CSV file.
#include "io/history.hpp"

#include "base/error.hpp"
#include "io/durable_file.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace elastic {

namespace {

void require_plain(const std::string& text) {
  ELASTIC_REQUIRE(text.find_first_of(",\"\r\n") == std::string::npos,
                  "a cell holds a comma, quote or line break: {}", text);
}

std::string spell(const HistoryCell& cell) {
  if (const auto* text = std::get_if<std::string>(&cell)) {
    require_plain(*text);
    return *text;
  }
  if (const auto* integer = std::get_if<index_t>(&cell)) return fmt::format("{}", *integer);
  const double number = std::get<double>(cell);
  return std::isnan(number) ? std::string() : fmt::format("{}", number);
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0;;) {
    const std::size_t end = text.find(separator, begin);
    parts.push_back(text.substr(begin, end - begin));
    if (end == std::string::npos) return parts;
    begin = end + 1;
  }
}

/// Lines that have their end.
std::vector<std::string> complete_lines(const std::filesystem::path& path) {
  auto lines = split(read_file(path), '\n');
  lines.pop_back();
  return lines;
}

bool has_contents(const std::filesystem::path& path) {
  std::error_code missing;
  return std::filesystem::is_regular_file(path, missing) &&
         std::filesystem::file_size(path, missing) > 0;
}

std::string header_of(const std::vector<std::string>& columns) {
  for (const auto& column : columns) require_plain(column);
  return fmt::format("{}", fmt::join(columns, ","));
}

/// The file to whose end rows are written. Of an existing one, compares the header row and cuts off
/// a last line without its end.
DiskFile open_history(const std::filesystem::path& path, const std::string& header) {
  if (!has_contents(path)) return DiskFile::append_to(path);
  const std::string text = read_file(path);
  const std::size_t complete = text.rfind('\n') + 1;  // 0 without any
  const bool stopped_in_header = complete == 0 && header.starts_with(text);
  if (!stopped_in_header && !text.starts_with(header + "\n"))
    throw InputError(fmt::format("{}: has other columns than this run; expected the first line {}",
                                 path.string(), header));
  if (complete != text.size()) DiskFile::modify(path).resize(complete);
  return DiskFile::append_to(path);
}

}  // namespace

HistoryWriter::HistoryWriter(const std::filesystem::path& path, std::vector<std::string> columns)
    : m_num_columns(columns.size()), m_file(open_history(path, header_of(columns))) {
  if (m_file.size() == 0) write_line(header_of(columns));
}

void HistoryWriter::write_line(const std::string& line) {
  const std::string text = line + "\n";
  m_file.append(text.data(), text.size());
}

void HistoryWriter::append(const std::vector<HistoryCell>& row) {
  ELASTIC_REQUIRE(row.size() == m_num_columns, "{} cells for {} columns", row.size(),
                  m_num_columns);
  std::vector<std::string> cells(row.size());
  std::transform(row.begin(), row.end(), cells.begin(), spell);
  write_line(fmt::format("{}", fmt::join(cells, ",")));
}

void truncate_history_after(const std::filesystem::path& path, const std::string& column,
                            double value) {
  if (!has_contents(path) || complete_lines(path).empty()) return;
  const auto numbers = History(path).numbers(column);
  const auto first =
      std::find_if(numbers.begin(), numbers.end(), [&](double number) { return number > value; });
  auto lines = complete_lines(path);
  lines.resize(1 + static_cast<std::size_t>(first - numbers.begin()));
  write_file_durably(path, fmt::format("{}\n", fmt::join(lines, "\n")));
}

History::History(const std::filesystem::path& path) : m_path(path) {
  const auto lines = complete_lines(path);
  if (lines.empty()) throw InputError(fmt::format("{}: has no header line", path.string()));
  m_columns = split(lines.front(), ',');
  for (std::size_t i = 1; i < lines.size(); ++i) {
    m_rows.push_back(split(lines[i], ','));
    if (m_rows.back().size() != m_columns.size())
      throw InputError(fmt::format("{}:{}: {} cells, expected {}", path.string(), i + 1,
                                   m_rows.back().size(), m_columns.size()));
  }
}

std::size_t History::index_of(const std::string& column) const {
  const auto found = std::find(m_columns.begin(), m_columns.end(), column);
  if (found == m_columns.end())
    throw InputError(fmt::format("{}: no column {}; there are {}", m_path.string(), column,
                                 fmt::join(m_columns, ", ")));
  return static_cast<std::size_t>(found - m_columns.begin());
}

std::vector<std::string> History::texts(const std::string& column) const {
  const std::size_t j = index_of(column);
  std::vector<std::string> cells;
  for (const auto& row : m_rows) cells.push_back(row[j]);
  return cells;
}

std::vector<double> History::numbers(const std::string& column) const {
  std::vector<double> numbers;
  for (const auto& cell : texts(column)) {
    double number = std::numeric_limits<double>::quiet_NaN();
    const char* end = cell.data() + cell.size();
    if (!cell.empty() && std::from_chars(cell.data(), end, number).ptr != end)
      throw InputError(fmt::format("{}:{}: {} in column {} is not a number", m_path.string(),
                                   numbers.size() + 2, cell, column));
    numbers.push_back(number);
  }
  return numbers;
}

}  // namespace elastic
