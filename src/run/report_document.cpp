// SPDX-License-Identifier: Apache-2.0
#include "run/report_document.hpp"

#include <fmt/ranges.h>

#include "base/error.hpp"
#include "io/durable_file.hpp"

namespace elastic {
namespace {

// One column that a screen or a sheet of paper holds; tables scroll by themselves.
constexpr const char* style =
    "body{max-width:60em;margin:2em auto;padding:0 1em;font:16px/1.5 sans-serif;color:#222}\n"
    "h1,h2{line-height:1.2}h2{margin-top:2em;border-bottom:1px solid #ddd}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse}\n"
    "th,td{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:left}\n"
    "td.r,th.r{text-align:right;font-variant-numeric:tabular-nums}\n"
    "pre{overflow-x:auto;background:#f6f6f6;padding:.7em;font-size:13px;line-height:1.35}\n"
    "img{max-width:100%;height:auto}figure{margin:1em 0}figcaption{color:#666}\n"
    "summary{cursor:pointer}\n";

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '&')
      result += "&amp;";
    else if (c == '<')
      result += "&lt;";
    else if (c == '>')
      result += "&gt;";
    else if (c == '"')
      result += "&quot;";
    else
      result += c;
  }
  return result;
}

/// A paragraph: `...` becomes code, [text](file) the text.
std::string inline_html(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const auto mark = std::min(text.find_first_of("`["), text.size());
    result += escaped(text.substr(0, mark));
    text.remove_prefix(mark);
    if (text.empty()) break;
    const bool code = text[0] == '`';
    const auto end = code ? text.find('`', 1) : text.find("](");
    const auto close = code ? end : text.find(')', std::min(end, text.size()));
    if (close == text.npos) return result + escaped(text);
    const std::string inside = escaped(text.substr(1, end - 1));
    result += code ? fmt::format("<code>{}</code>", inside) : inside;
    text.remove_prefix(close + 1);
  }
  return result;
}

std::string markdown_table(const ReportTable& table) {
  std::string text = fmt::format("| {} |\n|", fmt::join(table.columns, " | "));
  for (const char side : table.align) text += side == 'l' ? ":--|" : "--:|";
  for (const auto& row : table.rows) text += fmt::format("\n| {} |", fmt::join(row, " | "));
  return text + "\n";
}

std::string html_row(const ReportTable& table, const std::vector<std::string>& cells,
                     const char* tag) {
  std::string text;
  for (std::size_t i = 0; i < cells.size(); ++i)
    text += fmt::format("<{0}{1}>{2}</{0}>", tag, table.align[i] == 'r' ? " class=\"r\"" : "",
                        escaped(cells[i]));
  return fmt::format("<tr>{}</tr>\n", text);
}

std::string html_table(const ReportTable& table) {
  std::string rows;
  for (const auto& row : table.rows) rows += html_row(table, row, "td");
  return fmt::format(
      "<div class=\"wide\"><table>\n<thead>\n{}</thead>\n<tbody>\n{}</tbody>\n</table></div>\n",
      html_row(table, table.columns, "th"), rows);
}

/// A line that begins with * would be an item of a list.
std::string markdown_paragraph(const std::string& text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '*' && (i == 0 || text[i - 1] == '\n')) result += '\\';
    result += text[i];
  }
  return result + "\n";
}

}  // namespace

std::string base64(const std::string& bytes) {
  constexpr const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string result;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    unsigned group = 0;
    for (std::size_t k = 0; k < 3; ++k)
      group = group << 8 | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (std::size_t k = 0; k < 4; ++k)
      result += k <= count ? digits[group >> (18 - 6 * k) & 63] : '=';
  }
  return result;
}

std::string ReportDocument::markdown(const Part& part) {
  switch (part.kind) {
    case Part::Kind::section:
      return fmt::format("## {}\n", part.text);
    case Part::Kind::paragraph:
      return markdown_paragraph(part.text);
    case Part::Kind::code:
      return fmt::format("```\n{}\n```\n", part.text);
    case Part::Kind::table:
      return markdown_table(part.table);
    case Part::Kind::picture:
      return fmt::format("![{}]({})\n", part.text, part.more);
    case Part::Kind::attachment:
      return {};
  }
  throw_contract("a part of no kind");
}

std::string ReportDocument::html(const Part& part, const std::filesystem::path& folder) {
  switch (part.kind) {
    case Part::Kind::section:
      return fmt::format("<h2>{}</h2>\n", escaped(part.text));
    case Part::Kind::paragraph:
      return fmt::format("<p>{}</p>\n", inline_html(part.text));
    case Part::Kind::code:
      return fmt::format("<pre>{}</pre>\n", escaped(part.text));
    case Part::Kind::table:
      return html_table(part.table);
    case Part::Kind::picture:
      return fmt::format(
          "<figure><img alt=\"{0}\" src=\"data:image/png;base64,{1}\">\n"
          "<figcaption>{0}</figcaption></figure>\n",
          escaped(part.text), base64(read_file(folder / part.more)));
    case Part::Kind::attachment:
      return fmt::format("<details><summary>{}</summary>\n<pre>{}</pre></details>\n",
                         escaped(part.text), escaped(part.more));
  }
  throw_contract("a part of no kind");
}

std::string ReportDocument::markdown() const {
  std::string text = fmt::format("# {}\n", m_title);
  for (const auto& part : m_parts)
    if (const auto rendered = markdown(part); !rendered.empty()) text += "\n" + rendered;
  return text;
}

std::string ReportDocument::html(const std::filesystem::path& folder) const {
  std::string text = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width\">\n<title>{0}</title>\n"
      "<style>\n{1}</style>\n</head>\n<body>\n<h1>{0}</h1>\n",
      escaped(m_title), style);
  for (const auto& part : m_parts) text += html(part, folder);
  return text + "</body>\n</html>\n";
}

}  // namespace elastic
