// SPDX-License-Identifier: Apache-2.0
// Whole vectors against the same arithmetic on single numbers, to the bit.
#include "kernels/convolution/host_vector.hpp"

#ifdef ELASTIC_HOST_VECTORS
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/rows/store_rounded.hpp"

using namespace elastic;
using namespace elastic::kernels;

namespace {
constexpr int length = vector_length<float>;

/// Numbers of all magnitudes, of both signs, and what is special.
std::vector<float> numbers() {
  std::vector<float> x = {0.0f,
                          -0.0f,
                          1e-42f,
                          -1e-42f,
                          std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::max()};
  for (std::uint32_t bits = 0; bits < 0xff000000u; bits += 0x3fff7u)
    if (const auto value = std::bit_cast<float>(bits); std::isfinite(value)) x.push_back(value);
  while (x.size() % length != 0) x.push_back(1);
  return x;
}

TEST(HostVector, ValuesAreRoundedAndWidenedAsSingleOnes) {
  const auto x = numbers();
  for (std::size_t i = 0; i < x.size(); i += length) {
    std::array<bfloat16, length> stored;
    store_vector(stored.data(), load_vector(&x[i]));
    const auto widened = load_vector(stored.data());
    for (int k = 0; k < length; ++k) {
      bfloat16 single;
      store_rounded(single, x[i + k]);
      EXPECT_EQ(stored[k].bits(), single.bits()) << x[i + k];
      EXPECT_EQ(single.bits(), bfloat16_bits(x[i + k])) << x[i + k];
      EXPECT_EQ(std::bit_cast<std::uint32_t>(static_cast<float>(widened[k])),
                std::bit_cast<std::uint32_t>(widen(single)));
    }
  }
}

TEST(HostVector, ExponentialsAndSigmoidsAreThoseOfSingleNumbers) {
  const auto x = numbers();
  for (std::size_t i = 0; i < x.size(); i += length) {
    const Vector<float> given = load_vector(&x[i]), exponential = exp_of_number(given),
                        sigmoid = sigmoid_of_number(given);
    for (int k = 0; k < length; ++k) {
      if (std::isnan(x[i + k])) continue;
      EXPECT_EQ(exponential[k], vector_exp(x[i + k])) << x[i + k];
      EXPECT_EQ(sigmoid[k], vector_sigmoid(x[i + k])) << x[i + k];
    }
  }
}

TEST(HostVector, DoubleIsTheLibrary) {
  const Vector<double> x = vector_of(-1.25);
  for (int k = 0; k < vector_length<double>; ++k) EXPECT_EQ(exp_of_number(x)[k], std::exp(-1.25));
}
}  // namespace
#endif
