// SPDX-License-Identifier: Apache-2.0
// A report for people, written once and rendered twice: as Markdown beside its pictures, and as
// one HTML file that holds them and needs nothing else: no other file, no network, no script.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace elastic {

/// A table of texts. `align`: one of l and r per column.
struct ReportTable {
  std::string align;
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows = {};
};

class ReportDocument {
 public:
  explicit ReportDocument(std::string title) : m_title(std::move(title)) {}

  void section(const std::string& title) { add({Part::Kind::section, title}); }
  /// In `text`, `...` is code and [text](file) names a file beside the report.
  void paragraph(const std::string& text) { add({Part::Kind::paragraph, text}); }
  void code(const std::string& text) { add({Part::Kind::code, text}); }
  void table(ReportTable table) { add({Part::Kind::table, "", "", std::move(table)}); }
  /// A PNG file beside the report.
  void picture(const std::string& title, const std::string& file) {
    add({Part::Kind::picture, title, file});
  }
  /// A file beside the report, whose text the HTML file holds, folded.
  void attachment(const std::string& title, const std::string& text) {
    add({Part::Kind::attachment, title, text});
  }

  std::string markdown() const;
  /// `folder`: of the pictures. Throws RunError if one cannot be read.
  std::string html(const std::filesystem::path& folder) const;

 private:
  struct Part {
    enum class Kind { section, paragraph, code, table, picture, attachment };
    Kind kind;
    std::string text;
    std::string more = {};
    ReportTable table = {};
  };
  void add(Part part) { m_parts.push_back(std::move(part)); }
  static std::string markdown(const Part& part);
  static std::string html(const Part& part, const std::filesystem::path& folder);

  std::string m_title;
  std::vector<Part> m_parts;
};

/// Base64 with padding (RFC 4648).
std::string base64(const std::string& bytes);

}  // namespace elastic
