// SPDX-License-Identifier: Apache-2.0
// Tests of the test support: comparisons must be able to fail.
#include <gmock/gmock.h>
#include <fmt/format.h>
#include <hdf5.h>
#include <unistd.h>

#include <filesystem>

#include "unit_tests/support/fixture.hpp"
#include "unit_tests/support/gradient.hpp"

namespace elastic::test {
namespace {

TEST(Tolerance, GrowsWithTheLengthAboveSixteen) {
  EXPECT_EQ(tolerance<float>(1), tolerance<float>(16));
  EXPECT_DOUBLE_EQ(tolerance<double>(1600), 10 * tolerance<double>(16));
}

TEST(Tolerance, OfAStoredTypeIsThatOfItsSums) {
  EXPECT_EQ(tolerance<bfloat16>(100), tolerance<float>(100));
  EXPECT_EQ(storage_rounding<float>(), 0);
  EXPECT_EQ(storage_rounding<bfloat16>(), 0x1p-8);
  EXPECT_EQ(stored_tolerance<bfloat16>(100, 3), tolerance<float>(100) + 3 * 0x1p-8);
  EXPECT_EQ(stored_tolerance<double>(100, 3), tolerance<double>(100));
}

TEST(Views, NearAllowsOneRoundingOfEachStoredElement) {
  const std::vector<double> expected = {100, 1.00390625, -0.0012345};
  auto values = random_values<bfloat16>(3, 1);
  for (std::size_t i = 0; i < 3; ++i) values[i] = bfloat16(expected[i]);
  const double arithmetic = 1e-7;
  EXPECT_TRUE(near(values, expected, arithmetic));
  values[1] = bfloat16(1 - 0x1p-8);  // two roundings below, and far below one of the largest
  EXPECT_FALSE(near(values, expected, arithmetic));
  EXPECT_FALSE(near(std::vector<float>{100, 1, 0}, expected, arithmetic));
}

TEST(Views, StoredAsRoundsAndWidens) {
  const auto x = random_matrix<float>(3, 4, 5);
  const auto rounded = stored_as<bfloat16>(x);
  EXPECT_TRUE(bitwise_equal(rounded, random_matrix<bfloat16>(3, 4, 5)));
  EXPECT_TRUE(bitwise_equal(stored_as<bfloat16>(stored_as<double>(rounded)), rounded));
  EXPECT_TRUE(near(rounded, x, 0));
}

TEST(Views, RoundTripThroughStridedMatrix) {
  const auto strided = strided_random_matrix<float>(3, 4, 7, 5);
  EXPECT_EQ(leading_dimension(strided), 7);
  EXPECT_TRUE(bitwise_equal(strided, random_matrix<float>(3, 4, 5)));
  EXPECT_TRUE(bitwise_equal(strided, clone(strided)));
  EXPECT_EQ(leading_dimension(clone(strided)), 4);
}

TEST(Views, RandomNumbersStayInside) {
  for (const double x : random_values<double>(1000, 3, 2, 5)) EXPECT_TRUE(x > 2 && x < 5);
}

TEST(Views, NearNamesTheWorstElement) {
  const std::vector<double> expected = {1, 2, 3, 4, 5, 6};
  auto values = expected;
  EXPECT_TRUE(near(to_device(values, 2, 3), expected, 1e-15));
  values[4] += 1e-3;
  EXPECT_TRUE(near(to_device(values, 2, 3), expected, 1e-3));  // relative to 6
  const auto result = near(to_device(values, 2, 3), expected, 1e-4);
  EXPECT_FALSE(result);
  EXPECT_THAT(result.message(), testing::HasSubstr("[1, 1]"));
}

TEST(Views, NearRejectsNanAndWrongSize) {
  const std::vector<double> expected = {1, 2};
  EXPECT_FALSE(near(std::vector<double>{1, std::nan("")}, expected, 1e9));
  EXPECT_FALSE(near(std::vector<double>{1}, expected, 1e9));
}

TEST(Views, BitwiseEqualSeesTheLastBit) {
  const std::vector<float> a = {1, 2};
  auto b = a;
  EXPECT_TRUE(bitwise_equal(a, b));
  b[1] = std::nextafter(2.0f, 3.0f);
  EXPECT_FALSE(bitwise_equal(a, b));
}

TEST(Gradient, AcceptsTheRightAndRejectsTheWrongOne) {
  const auto x = random_matrix<double>(4, 5, 1);
  const auto gradient = clone(x);
  const auto loss = [&] {
    double sum = 0;
    for (const double v : to_host(x)) sum += std::exp(v);
    return sum;
  };
  auto values = to_host(x);
  for (double& v : values) v = std::exp(v);
  assign(gradient, values);
  EXPECT_LT(directional_error(loss, x, gradient), 1e-9);
  values[3] *= 1.001;
  assign(gradient, values);
  EXPECT_GT(directional_error(loss, x, gradient), 1e-6);
}

TEST(Fixture, ReadsAnyRank) {
  const auto path =
      std::filesystem::temp_directory_path() / fmt::format("elastic_test_fixture_{}.h5", getpid());
  const std::vector<double> values = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  const hsize_t extents[3] = {2, 2, 3};
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  const hid_t space = H5Screate_simple(3, extents, nullptr);
  const hid_t set =
      H5Dcreate2(file, "x", H5T_IEEE_F64LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
  H5Dclose(set);
  H5Sclose(space);
  H5Fclose(file);

  const Fixture fixture(path.string());
  const auto x = fixture.matrix<float>("x");
  EXPECT_EQ(x.extent(0), 4u);
  EXPECT_EQ(x.extent(1), 3u);
  EXPECT_TRUE(near(x, values, 0));
  EXPECT_EQ(to_host(fixture.tokens("x"))[11], 12);
  EXPECT_THROW(fixture.matrix<float>("y"), std::runtime_error);
  EXPECT_THROW(Fixture("no_such_file.h5"), std::runtime_error);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace elastic::test
