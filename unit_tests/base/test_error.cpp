// SPDX-License-Identifier: Apache-2.0
// Exit codes of the errors, and the text of broken contracts and shape checks.
#include "base/error.hpp"

#include <gmock/gmock.h>

#include "base/shapes.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;

TEST(Error, ExitCodes) {
  EXPECT_EQ(InputError("").code(), ExitCode::input);
  EXPECT_EQ(RunError("").code(), ExitCode::runtime);
  EXPECT_EQ(NumericsError("").code(), ExitCode::numerics);
  EXPECT_EQ(ContractError("").code(), ExitCode::runtime);
  EXPECT_EQ(static_cast<int>(ExitCode::input), 1);
  EXPECT_EQ(static_cast<int>(ExitCode::runtime), 2);
  EXPECT_EQ(static_cast<int>(ExitCode::numerics), 3);
  EXPECT_EQ(static_cast<int>(ExitCode::requeue), 85);
}

TEST(Error, ContractNamesExpressionPlaceAndMessage) {
  try {
    const int heads = 3;
    ELASTIC_REQUIRE(heads % 2 == 0, "{} heads", heads);
    FAIL() << "no error";
  } catch (const ContractError& error) {
    EXPECT_THAT(error.what(), HasSubstr("heads % 2 == 0"));
    EXPECT_THAT(error.what(), HasSubstr("3 heads"));
    EXPECT_THAT(error.what(), HasSubstr("test_error.cpp:"));
  }
  EXPECT_NO_THROW(ELASTIC_REQUIRE(true, "fine"));
}

TEST(Error, ShapeChecksNameTheArgument) {
  const View2<float> a("elastic::test::a", 2, 3);
  const View1<float> v("elastic::test::v", 4), absent;
  EXPECT_NO_THROW(require_shape("f", "a", a, 2, 3));
  EXPECT_NO_THROW(require_shape("f", "v", v, 4));
  EXPECT_NO_THROW(require_shape_or_empty("f", "v", absent, 4));
  EXPECT_THROW(require_shape("f", "v", absent, 4), ContractError);
  EXPECT_THROW(require_shape_or_empty("f", "v", v, 5), ContractError);
  try {
    require_shape("gemm", "c", a, 3, 2);
    FAIL() << "no error";
  } catch (const ContractError& error) {
    EXPECT_THAT(error.what(), HasSubstr("gemm: c is [2, 3], expected [3, 2]"));
  }
}

}  // namespace
}  // namespace elastic::test
