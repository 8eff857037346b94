// SPDX-License-Identifier: Apache-2.0
// The first number that is not finite, in every type and at every place of a vector register.
#include "state/finite_numbers.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.hpp"
#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {

template <class T>
std::optional<NotFinite> first_in(const std::vector<T>& numbers) {
  return first_not_finite(storage_type_of<T>(), reinterpret_cast<const char*>(numbers.data()),
                          numbers.size() * sizeof(T));
}

template <class T>
void check() {
  const auto lowest = static_cast<T>(-3.3e38f), tiny = static_cast<T>(1e-40f);
  for (const std::size_t count : {1, 7, 64, 5000, 9000}) {
    std::vector<T> numbers(count, lowest);
    numbers[count / 2] = tiny;
    EXPECT_FALSE(first_in(numbers)) << count;
    for (const float wrong : {INFINITY, -INFINITY, NAN})
      for (const std::size_t at : {std::size_t(0), count / 3, count - 1}) {
        auto with = numbers;
        with[at] = with[count - 1] = static_cast<T>(wrong);
        const auto found = first_in(with);
        ASSERT_TRUE(found);
        EXPECT_EQ(found->index, static_cast<index_t>(at));
        EXPECT_EQ(std::isnan(found->value), std::isnan(wrong));
      }
  }
}

TEST(FiniteNumbers, InEveryType) {
  check<float>();
  check<double>();
  check<bfloat16>();
  EXPECT_FALSE(first_in(std::vector<index_t>{-1, std::numeric_limits<index_t>::max()}));
  EXPECT_FALSE(first_in(std::vector<float>{}));
}

TEST(FiniteNumbers, TheMessageNamesTensorAndElement) {
  StateTensor tensor;
  tensor.name = "model/w";
  tensor.extents = Extents::matrix(10, 3);
  std::vector<float> rows(9, 1.0f);
  const auto require = [&] {
    require_finite("run/c.h5: step 4", tensor, 5, reinterpret_cast<const char*>(rows.data()), 36);
  };
  require();
  rows[7] = -INFINITY;
  const auto message = message_of<NumericsError>(require);
  contains(message, "run/c.h5: step 4: model/w holds -inf at [7, 1]");
  tensor.extents = Extents::vector(30);
  contains(message_of<NumericsError>(require), "at [12]");
}

}  // namespace
}  // namespace elastic::test
