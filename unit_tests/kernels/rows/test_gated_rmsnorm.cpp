// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/gated_rmsnorm.hpp"

#include "base/error.hpp"
#include "unit_tests/support/fixture.hpp"
#include "unit_tests/support/gradient.hpp"
#include "unit_tests/kernels/contract.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
struct GatedNorm {
  using A = Accumulate<T>;
  index_t tokens, width;
  View2<T> y, z, dout;
  View1<T> weight;
  View1<A> mask;
  GatedRmsNormParams params;
  View2<T> out;
  View2<A> rstd;
  View2<T> dy, dz;
  View1<A> dweight, dmask, dscale;

  GatedNorm(View2<T> y_, View2<T> z_, View2<T> dout_, View1<T> weight_, View1<A> mask_,
            GatedRmsNormParams params_)
      : tokens(y_.extent(0)),
        width(y_.extent(1)),
        y(y_),
        z(z_),
        dout(dout_),
        weight(weight_),
        mask(mask_),
        params(params_),
        out("elastic::test::out", tokens, width),
        rstd("elastic::test::rstd", tokens, params_.num_groups),
        dy("elastic::test::dy", tokens, width),
        dz("elastic::test::dz", tokens, width),
        dweight("elastic::test::dweight", width),
        dmask("elastic::test::dmask", mask_.extent(0)),
        dscale("elastic::test::dscale", params_.num_groups) {}
  /// The gradient of the scale, which all groups share.
  View1<A> whole_dscale() const {
    A sum = 0;
    for (const A part : to_host(dscale)) sum += part;
    return to_device(std::vector<A>{sum});
  }
  void forward() {
    gated_rmsnorm_forward<T>(ExecutionSpace(), {y, z, weight, mask}, params, out, rstd);
  }
  void backward() {
    const View1<A> workspace("elastic::test::workspace",
                             gated_rmsnorm_workspace_size(tokens, width, params.num_groups));
    Kokkos::deep_copy(workspace, std::numeric_limits<A>::quiet_NaN());
    gated_rmsnorm_backward<T>(ExecutionSpace(), {y, z, weight, mask}, params, rstd, dout,
                              {dy, dz, dweight, dmask, dscale}, workspace);
  }
};

template <class T>
GatedNorm<T> random_norm(index_t tokens, index_t heads, index_t head_dim, index_t groups,
                         bool masked) {
  const index_t width = heads * head_dim;
  return {random_matrix<T>(tokens, width, 1),
          random_matrix<T>(tokens, width, 2, -4, 4),
          random_matrix<T>(tokens, width, 3),
          random_vector<T>(width, 4, 0.5, 1.5),
          masked ? random_vector<Accumulate<T>>(width, 5, 0, 1) : View1<Accumulate<T>>(),
          {head_dim, groups, 1e-3, 0.75 * width / groups, 0.8}};
}

template <class T>
class GatedRmsNorm : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(GatedRmsNorm, Scalars);

template <class T>
class GatedRmsNormOfPyTorch : public testing::Test {};
using ExactScalars = testing::Types<float, double>;
TYPED_TEST_SUITE(GatedRmsNormOfPyTorch, ExactScalars);

TYPED_TEST(GatedRmsNormOfPyTorch, IsOurs) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const Fixture f("dense_kernels.h5");
  for (const bool masked : {false, true}) {
    const std::string name = masked ? "gated_rmsnorm_masked/" : "gated_rmsnorm_plain/";
    GatedNorm<T> norm(
        f.matrix<T>(name + "y"), f.matrix<T>(name + "z"), f.matrix<T>(name + "dout"),
        f.vector<T>(name + "weight"), masked ? f.vector<A>(name + "mask") : View1<A>(),
        {static_cast<index_t>(f.scalar(name + "head_dim")),
         static_cast<index_t>(f.scalar(name + "num_groups")), f.scalar(name + "epsilon"),
         f.scalar(name + "mean_width"), f.scalar(name + "scale")});
    norm.forward();
    norm.backward();
    const double tol = tolerance<T>(norm.width),
                 tol_tokens = tolerance<T>(norm.tokens * norm.width);
    EXPECT_TRUE(near(norm.out, f.matrix<double>(name + "out"), tol));
    EXPECT_TRUE(near(norm.rstd, f.matrix<double>(name + "rstd"), tol));
    EXPECT_TRUE(near(norm.dy, f.matrix<double>(name + "dy"), tol));
    EXPECT_TRUE(near(norm.dz, f.matrix<double>(name + "dz"), tol));
    EXPECT_TRUE(near(norm.dweight, f.vector<double>(name + "dweight"), tol_tokens));
    if (masked) {
      EXPECT_TRUE(near(norm.dmask, f.vector<double>(name + "dmask"), tol_tokens));
    }
    EXPECT_TRUE(near(norm.whole_dscale(), f.vector<double>(name + "dscale"), tol_tokens));
  }
}

/// Every stored value is the fp64 result for the same (rounded) inputs, rounded once, although each
/// row is passed over twice.
TYPED_TEST(GatedRmsNorm, EqualsDoublePrecision) {
  using T = TypeParam;
  for (const bool masked : {false, true}) {
    auto norm = random_norm<T>(70, 6, 35, 3, masked);
    GatedNorm<double> exact(stored_as<double>(norm.y), stored_as<double>(norm.z),
                            stored_as<double>(norm.dout), stored_as<double>(norm.weight),
                            stored_as<double>(norm.mask), norm.params);
    norm.forward(), norm.backward();
    exact.forward(), exact.backward();
    EXPECT_TRUE(near(norm.out, exact.out, tolerance<T>(70)));
    EXPECT_TRUE(near(norm.rstd, exact.rstd, tolerance<T>(70)));
    EXPECT_TRUE(near(norm.dy, exact.dy, tolerance<T>(70)));
    EXPECT_TRUE(near(norm.dz, exact.dz, tolerance<T>(70)));
    EXPECT_TRUE(near(norm.dweight, exact.dweight, tolerance<T>(70 * 70)));
    EXPECT_TRUE(near(norm.dmask, exact.dmask, tolerance<T>(70 * 70)));
    EXPECT_TRUE(near(norm.dscale, exact.dscale, tolerance<T>(70 * 70)));
  }
}

TEST(GatedRmsNormGradient, EqualsFiniteDifferences) {
  for (const bool masked : {false, true}) {
    auto norm = random_norm<double>(70, 6, 5, 3, masked);  // more than one block of tokens
    const View1<double> scale("elastic::test::scale", 1);
    Kokkos::deep_copy(scale, norm.params.scale);
    const auto loss = [&] {
      norm.params.scale = to_host(scale)[0];
      norm.forward();
      return dot(norm.out, norm.dout);
    };
    loss();
    norm.backward();
    EXPECT_LT(directional_error(loss, norm.y, norm.dy), 1e-6);
    EXPECT_LT(directional_error(loss, norm.z, norm.dz), 1e-6);
    EXPECT_LT(directional_error(loss, norm.weight, norm.dweight), 1e-6);
    if (masked) {
      EXPECT_LT(directional_error(loss, norm.mask, norm.dmask), 1e-6);
    }
    EXPECT_LT(directional_error(loss, scale, norm.whole_dscale()), 1e-6);
  }
}

/// Columns h * head_dim + p with h < heads, p < channels of a matrix with
/// head_dim columns per head.
template <class T>
std::vector<T> kept_columns(const std::vector<T>& values, index_t width, index_t head_dim,
                            index_t heads, index_t channels) {
  std::vector<T> result;
  for (std::size_t row = 0; row < values.size(); row += width)
    for (index_t h = 0; h < heads; ++h)
      for (index_t p = 0; p < channels; ++p) result.push_back(values[row + h * head_dim + p]);
  return result;
}

// With fewer heads in every group and fewer channels in every head, masked gives
// the bits of the small norm.
TYPED_TEST(GatedRmsNorm, MaskedEqualsSliced) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const index_t tokens = 70, heads = 6, head_dim = 40, groups = 2, width = heads * head_dim;
  for (const auto& extents : {std::pair<index_t, index_t>{4, 40}, {6, 33}, {2, 7}}) {
    const index_t kept_heads = extents.first, kept_channels = extents.second;
    auto masked = random_norm<T>(tokens, heads, head_dim, groups, true);
    std::vector<A> mask(width);
    for (index_t e = 0; e < width; ++e)
      mask[e] = e / head_dim < kept_heads && e % head_dim < kept_channels ? A(1) : A(0);
    assign(masked.mask, mask);
    const index_t small = kept_heads * kept_channels;
    const auto kept = [&](const auto& view) {
      return kept_columns(to_host(view), width, head_dim, kept_heads, kept_channels);
    };
    auto params = masked.params;
    params.head_dim = kept_channels;
    GatedNorm<T> sliced(
        to_device(kept(masked.y), tokens, small), to_device(kept(masked.z), tokens, small),
        to_device(kept(masked.dout), tokens, small), to_device(kept(masked.weight)), {}, params);
    for (auto* norm : {&masked, &sliced}) {
      norm->forward();
      norm->backward();
    }
    EXPECT_TRUE(bitwise_equal(kept(masked.out), to_host(sliced.out)))
        << kept_heads << " " << kept_channels;
    EXPECT_TRUE(bitwise_equal(masked.rstd, sliced.rstd)) << kept_heads << " " << kept_channels;
    EXPECT_TRUE(bitwise_equal(kept(masked.dy), to_host(sliced.dy)))
        << kept_heads << " " << kept_channels;
    EXPECT_TRUE(bitwise_equal(kept(masked.dz), to_host(sliced.dz)))
        << kept_heads << " " << kept_channels;
    EXPECT_TRUE(bitwise_equal(kept(masked.dweight), to_host(sliced.dweight)))
        << kept_heads << " " << kept_channels;
    EXPECT_TRUE(bitwise_equal(masked.dscale, sliced.dscale)) << kept_heads << " " << kept_channels;
  }
}

TYPED_TEST(GatedRmsNorm, AbsentGradientsAndRepeatability) {
  using T = TypeParam;
  using A = Accumulate<T>;
  auto all = random_norm<T>(200, 4, 9, 2, true), few = random_norm<T>(200, 4, 9, 2, true),
       again = random_norm<T>(200, 4, 9, 2, true);
  few.dweight = few.dmask = few.dscale = View1<A>();
  for (auto* norm : {&all, &few, &again}) {
    norm->forward();
    norm->backward();
  }
  EXPECT_TRUE(bitwise_equal(all.dy, few.dy));
  EXPECT_TRUE(bitwise_equal(all.dz, few.dz));
  EXPECT_TRUE(bitwise_equal(all.dweight, again.dweight));
  EXPECT_TRUE(bitwise_equal(all.dmask, again.dmask));
  EXPECT_TRUE(bitwise_equal(all.dscale, again.dscale));
}

TYPED_TEST(GatedRmsNorm, RejectsBrokenPreconditions) {
  using T = TypeParam;
  auto norm = random_norm<T>(3, 6, 4, 2, false);
  norm.params.head_dim = 5;  // does not divide 24
  EXPECT_THROW(norm.forward(), ContractError);
  norm.params.head_dim = 8;  // three heads in two groups
  EXPECT_THROW(norm.forward(), ContractError);
}

TYPED_TEST(GatedRmsNorm, GroupsDoNotDependOnEachOther) {
  using T = TypeParam;
  const index_t heads = 4, P = 6, groups = 2;
  auto norm = random_norm<T>(7, heads, P, groups, true),
       other = random_norm<T>(7, heads, P, groups, true);
  auto y = to_host(other.y);
  for (index_t i = 0; i < static_cast<index_t>(y.size()); ++i)
    if (i % (heads * P) / P % groups == 1)
      y[i] = static_cast<T>(3 * widen(y[i]));  // the heads of the second group
  assign(other.y, y);
  norm.forward();
  other.forward();
  const auto a = to_host(norm.out), b = to_host(other.out);
  for (index_t i = 0; i < static_cast<index_t>(a.size()); ++i)
    if (i % (heads * P) / P % groups == 0) {
      EXPECT_EQ(a[i], b[i]) << i;
    }
  EXPECT_FALSE(bitwise_equal(norm.out, other.out));
}

TYPED_TEST(GatedRmsNorm, WrongExtentsAreNamed) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const auto with = [](const auto& change, const std::string& text) {
    auto norm = random_norm<T>(6, 4, 2, 2, true);
    change(norm);
    return refuses([&] { norm.backward(); }, text);
  };
  const auto vector = random_vector<A>(7, 1);
  const auto bad = random_matrix<T>(6, 9, 1);
  EXPECT_TRUE(with([&](auto& n) { n.z = bad; }, "z is [6, 9], expected [6, 8]"));
  EXPECT_TRUE(
      with([&](auto& n) { n.weight = random_vector<T>(7, 1); }, "weight is [7], expected [8]"));
  EXPECT_TRUE(with([&](auto& n) { n.mask = vector; }, "mask is [7]"));
  EXPECT_TRUE(
      with([&](auto& n) { n.rstd = stored_as<A>(bad); }, "rstd is [6, 9], expected [6, 2]"));
  EXPECT_TRUE(with([&](auto& n) { n.dout = bad; }, "dout is [6, 9]"));
  EXPECT_TRUE(with([&](auto& n) { n.dy = bad; }, "dy is [6, 9]"));
  EXPECT_TRUE(with([&](auto& n) { n.dz = bad; }, "dz is [6, 9]"));
  EXPECT_TRUE(with([&](auto& n) { n.dweight = vector; }, "dweight is [7]"));
  EXPECT_TRUE(with([&](auto& n) { n.dmask = vector; }, "dmask is [7]"));
  EXPECT_TRUE(with([&](auto& n) { n.dscale = vector; }, "dscale is [7], expected [2]"));
}

}  // namespace
}  // namespace elastic::kernels
