// SPDX-License-Identifier: Apache-2.0
// Staircases and their gradients against loops over all units and channels.
#include "kernels/masks/soft_mask.hpp"

#include "base/on_grid.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

const ExecutionSpace exec() { return {}; }

MaskSteps steps(const std::vector<int>& edges, const std::vector<double>& values) {
  MaskSteps result;
  result.count = static_cast<int>(values.size());
  std::copy(edges.begin(), edges.end(), result.edge);
  std::copy(values.begin(), values.end(), result.value);
  return result;
}

/// The mask of each unit or channel below the last edge; before the first edge: none.
std::vector<double> spread(const MaskSteps& stairs) {
  std::vector<double> all(stairs.edge[stairs.count], 0.0);
  for (int b = 0; b < stairs.count; ++b)
    for (int j = stairs.edge[b]; j < stairs.edge[b + 1]; ++j) all[j] = stairs.value[b];
  return all;
}

const std::vector<MaskProduct> products = {
    {steps({0, 3, 7}, {1, 0.3})},
    {steps({0, 100, 101, 5000}, {1, 0.7, 0.1}), single_channel()},
    {steps({0, 2, 6, 9}, {1, 0.6, 0.25}), steps({0, 1, 5}, {1, 0.75})},
    {steps({4, 6, 9}, {0.6, 0.25}), steps({0, 3, 64}, {1, 0.5})}};

template <class A>
class SoftMask : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(SoftMask, Scalars);

TYPED_TEST(SoftMask, IsTheProductOfTwoStaircases) {
  using A = TypeParam;
  for (const auto& product : products) {
    const auto units = spread(product.units), channels = spread(product.channels);
    const auto mask = to_device(std::vector<A>(units.size() * channels.size(), A(-1)));
    soft_mask_forward<A>(exec(), product, mask);
    std::vector<A> expected;
    for (std::size_t u = 0; u < units.size(); ++u)
      for (const double c : channels)
        expected.push_back(
            static_cast<index_t>(u) < product.first_unit() ? A(-1) : static_cast<A>(units[u] * c));
    EXPECT_EQ(to_host(mask), expected);
  }
}

TYPED_TEST(SoftMask, GradientsAreSumsOverSteps) {
  using A = TypeParam;
  for (const auto& product : products)
    for (const bool own_mask : {false, true}) {
      const auto units = spread(product.units), channels = spread(product.channels);
      const auto count = static_cast<index_t>(units.size()), width = product.num_channels();
      const auto dmask = random_vector<A>(count * width, 1);
      const auto dunits = own_mask ? random_vector<A>(count, 2) : View1<A>();
      const View1<double> by_units("elastic::test", product.units.count),
          by_channels("elastic::test", product.channels.count);
      soft_mask_unit_gradients<A>(exec(), product, dmask, dunits, by_units);
      soft_mask_channel_gradients<A>(exec(), product, dmask, by_channels);
      const auto d = to_host(dmask), own = to_host(dunits);
      std::vector<double> unit_sums(product.units.count, 0.0),
          channel_sums(product.channels.count, 0.0);
      for (int b = 0; b < product.units.count; ++b)
        for (int u = product.units.edge[b]; u < product.units.edge[b + 1]; ++u) {
          double sum = 0;
          for (index_t c = 0; c < width; ++c)
            sum += channels[c] * static_cast<double>(d[u * width + c]);
          unit_sums[b] += on_grid(sum + (own_mask ? static_cast<double>(own[u]) : 0));
        }
      for (int b = 0; b < product.channels.count; ++b)
        for (int c = product.channels.edge[b]; c < product.channels.edge[b + 1]; ++c)
          for (index_t u = product.first_unit(); u < count; ++u)
            channel_sums[b] += on_grid(units[u] * static_cast<double>(d[u * width + c]));
      EXPECT_EQ(to_host(by_units), unit_sums);
      EXPECT_EQ(to_host(by_channels), channel_sums);
    }
}

TEST(SoftMask, RoundsAsOtherSumsOnTheGrid) {
  for (const double x : {0.5 * 0x1p-30, 1.5 * 0x1p-30, -2.5 * 0x1p-30, 1e-3, -7.0, 3e5 + 0x1p-31,
                         3e6 + 0x1p-31, 1e9 / 3, -1e290, 1e-300}) {
    const View1<double> out("elastic::test", 1);
    soft_mask_unit_gradients<double>(exec(), {single_channel()}, to_device<double>({x}), {}, out);
    EXPECT_EQ(to_host(out)[0], on_grid(x)) << x;
  }
}

TEST(SoftMask, WidensForTheHost) {
  const View1<double> out("elastic::test", 3);
  widen_all<float>(exec(), to_device<float>({1.5f, -2, 0.1f}), out);
  EXPECT_EQ(to_host(out), (std::vector<double>{1.5, -2, static_cast<double>(0.1f)}));
}

}  // namespace
}  // namespace elastic::kernels
