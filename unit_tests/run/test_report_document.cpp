// SPDX-License-Identifier: Apache-2.0
// A report in both renderings: every kind of part, marks that must not act, pictures inside.
#include "run/report_document.hpp"

#include "base/error.hpp"
#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {

class Document : public InFolder {};

TEST_F(Document, EveryPartInMarkdown) {
  ReportDocument report("title");
  report.section("one");
  report.paragraph("plain `code` and [a file](a.in).\n* a note");
  report.table({"lr", {"name", "x"}, {{"a", "1"}, {"b", "2"}}});
  report.code("x < y");
  report.picture("Losses", "losses.png");
  report.attachment("a.in", "<job>");
  EXPECT_EQ(report.markdown(),
            "# title\n\n## one\n\nplain `code` and [a file](a.in).\n\\* a note\n\n"
            "| name | x |\n|:--|--:|\n| a | 1 |\n| b | 2 |\n\n```\nx < y\n```\n\n"
            "![Losses](losses.png)\n");
}

TEST_F(Document, EveryPartInHtml) {
  write_bytes(folder / "losses.png", std::string("\x89PNG\0", 5));
  ReportDocument report("a & b");
  report.section("one");
  report.paragraph("plain `a<b` and [a file](a.in), 3 > 2, [no link, a `mark");
  report.table({"lr", {"name", "x"}, {{"<a>", "1"}}});
  report.code("x < y");
  report.picture("\"Losses\"", "losses.png");
  report.attachment("a.in", "<job>");
  const std::string html = report.html(folder);
  const auto body = html.substr(html.find("<body>"));
  EXPECT_EQ(body,
            "<body>\n<h1>a &amp; b</h1>\n<h2>one</h2>\n"
            "<p>plain <code>a&lt;b</code> and a file, 3 &gt; 2, [no link, a `mark</p>\n"
            "<div class=\"wide\"><table>\n<thead>\n<tr><th>name</th><th class=\"r\">x</th></tr>\n"
            "</thead>\n<tbody>\n<tr><td>&lt;a&gt;</td><td class=\"r\">1</td></tr>\n</tbody>\n"
            "</table></div>\n<pre>x &lt; y</pre>\n"
            "<figure><img alt=\"&quot;Losses&quot;\" src=\"data:image/png;base64,iVBORwA=\">\n"
            "<figcaption>&quot;Losses&quot;</figcaption></figure>\n"
            "<details><summary>a.in</summary>\n<pre>&lt;job&gt;</pre></details>\n"
            "</body>\n</html>\n");
  EXPECT_EQ(html.rfind("<!DOCTYPE html>\n<html lang=\"en\">", 0), 0u);
}

TEST_F(Document, APictureThatIsGone) {
  ReportDocument report("title");
  report.picture("Losses", "losses.png");
  EXPECT_THROW(report.html(folder), Error);
}

TEST(Base64, OfTheStandard) {
  for (const auto& [bytes, text] :
       {std::pair{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foobar", "Zm9vYmFy"}})
    EXPECT_EQ(base64(bytes), text);
}

}  // namespace
}  // namespace elastic::test
