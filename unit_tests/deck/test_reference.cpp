// SPDX-License-Identifier: Apache-2.0
// The generated reference of keys.
#include "deck/reference.hpp"

#include <gmock/gmock.h>

#include "base/error.hpp"
#include "unit_tests/deck/example.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;
using testing::Not;

struct Reference : testing::Test {
  Reference() { config.bind(schema); }
  ExampleConfig config;
  Schema schema;
};

TEST_F(Reference, MarkdownHasOneRowPerKey) {
  const std::string text = reference_markdown(schema);
  EXPECT_THAT(text,
              testing::StartsWith("## `<job>`\n\nWhat this run is called.\n\n| key | default |"));
  EXPECT_THAT(text, HasSubstr("| `name` | required | text |  | Short name of the run. |\n"));
  EXPECT_THAT(
      text, HasSubstr("| `seed` | `1234` | an integer >= 0 | 1 | Seed of all random numbers. |\n"));
  EXPECT_THAT(text, HasSubstr("| `weights` | empty | a list of numbers |"));
  EXPECT_THAT(text, HasSubstr("Optional block."));
  std::size_t rows = 0, keys = 0;
  for (std::size_t at = text.find("\n| `"); at != text.npos; at = text.find("\n| `", at + 1))
    ++rows;
  for (const SchemaBlock& block : schema.blocks()) keys += block.keys().size();
  EXPECT_EQ(rows, keys);
}

TEST_F(Reference, TerminalShowsAllOrOneBlock) {
  EXPECT_THAT(reference_text(schema), HasSubstr("<router>"));
  const std::string one = reference_text(schema, "job");
  EXPECT_THAT(one,
              HasSubstr("  seed = 1234    # an integer >= 0\n      Seed of all random numbers.\n"));
  EXPECT_THAT(one, Not(HasSubstr("<router>")));
  try {
    reference_text(schema, "ruoter");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), "unknown block 'ruoter'; nearest valid name 'router'");
  }
}

}  // namespace
}  // namespace elastic::test
