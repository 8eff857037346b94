// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/rmsnorm.hpp"

#include "base/error.hpp"
#include "unit_tests/support/fixture.hpp"
#include "unit_tests/support/gradient.hpp"
#include "unit_tests/kernels/contract.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
struct Norm {
  using A = Accumulate<T>;
  index_t tokens, width;
  View2<T> x, dy;
  View1<T> weight;
  View1<A> mask;
  RmsNormParams params;
  View2<T> y, dx;
  View1<A> rstd, dweight, dmask, dscale;

  Norm(View2<T> x_, View2<T> dy_, View1<T> weight_, View1<A> mask_, RmsNormParams params_)
      : tokens(x_.extent(0)),
        width(x_.extent(1)),
        x(x_),
        dy(dy_),
        weight(weight_),
        mask(mask_),
        params(params_),
        y("elastic::test::y", tokens, width),
        dx("elastic::test::dx", tokens, width),
        rstd("elastic::test::rstd", tokens),
        dweight("elastic::test::dweight", width),
        dmask("elastic::test::dmask", mask_.extent(0)),
        dscale("elastic::test::dscale", 1) {}
  void forward() { rmsnorm_forward<T>(ExecutionSpace(), {x, weight, mask}, params, y, rstd); }
  void backward() {
    const View1<A> workspace("elastic::test::workspace", rmsnorm_workspace_size(tokens, width));
    Kokkos::deep_copy(workspace, std::numeric_limits<A>::quiet_NaN());
    rmsnorm_backward<T>(ExecutionSpace(), {x, weight, mask}, params, rstd, dy,
                        {dx, dweight, dmask, dscale}, workspace);
  }
};

template <class T>
Norm<T> random_norm(index_t tokens, index_t width, bool masked) {
  return {random_matrix<T>(tokens, width, 1),
          random_matrix<T>(tokens, width, 2),
          random_vector<T>(width, 3, 0.5, 1.5),
          masked ? random_vector<Accumulate<T>>(width, 4, 0, 1) : View1<Accumulate<T>>(),
          {1e-3, width * 0.75, 0.8}};
}

template <class T>
class RmsNorm : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(RmsNorm, Scalars);

template <class T>
class RmsNormOfPyTorch : public testing::Test {};
using ExactScalars = testing::Types<float, double>;
TYPED_TEST_SUITE(RmsNormOfPyTorch, ExactScalars);

TYPED_TEST(RmsNormOfPyTorch, IsOurs) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const Fixture f("dense_kernels.h5");
  for (const std::string name : {"rmsnorm_plain/", "rmsnorm_masked/"}) {
    const bool masked = name == "rmsnorm_masked/";
    Norm<T> norm(
        f.matrix<T>(name + "x"), f.matrix<T>(name + "dy"), f.vector<T>(name + "weight"),
        masked ? f.vector<A>(name + "mask") : View1<A>(),
        {f.scalar(name + "epsilon"), f.scalar(name + "mean_width"), f.scalar(name + "scale")});
    norm.forward();
    norm.backward();
    const double tol = tolerance<T>(norm.width),
                 tol_tokens = tolerance<T>(norm.tokens * norm.width);
    EXPECT_TRUE(near(norm.y, f.matrix<double>(name + "y"), tol));
    EXPECT_TRUE(near(norm.dx, f.matrix<double>(name + "dx"), tol));
    EXPECT_TRUE(near(norm.dweight, f.vector<double>(name + "dweight"), tol_tokens));
    if (masked) {
      EXPECT_TRUE(near(norm.dmask, f.vector<double>(name + "dmask"), tol_tokens));
    }
    EXPECT_TRUE(near(norm.dscale, f.vector<double>(name + "dscale"), tol_tokens));
  }
}

/// Every stored value is the fp64 result for the same (rounded) inputs, rounded once.
TYPED_TEST(RmsNorm, EqualsDoublePrecision) {
  using T = TypeParam;
  for (const bool masked : {false, true}) {
    auto norm = random_norm<T>(70, 137, masked);
    Norm<double> exact(stored_as<double>(norm.x), stored_as<double>(norm.dy),
                       stored_as<double>(norm.weight), stored_as<double>(norm.mask), norm.params);
    norm.dx = random_matrix<T>(70, 137, 9);
    exact.dx = stored_as<double>(norm.dx);
    norm.forward(), norm.backward();
    exact.forward(), exact.backward();
    EXPECT_TRUE(near(norm.y, exact.y, tolerance<T>(137)));
    EXPECT_TRUE(near(norm.rstd, exact.rstd, tolerance<T>(137)));
    EXPECT_TRUE(near(norm.dx, exact.dx, tolerance<T>(137)));
    EXPECT_TRUE(near(norm.dweight, exact.dweight, tolerance<T>(70 * 137)));
    EXPECT_TRUE(near(norm.dmask, exact.dmask, tolerance<T>(70 * 137)));
    EXPECT_TRUE(near(norm.dscale, exact.dscale, tolerance<T>(70 * 137)));
  }
}

TEST(RmsNormGradient, EqualsFiniteDifferences) {
  for (const bool masked : {false, true}) {
    auto norm = random_norm<double>(70, 37, masked);  // more than one block of tokens
    const View1<double> scale("elastic::test::scale", 1);
    Kokkos::deep_copy(scale, norm.params.scale);
    const auto loss = [&] {
      norm.params.scale = to_host(scale)[0];
      norm.forward();
      return dot(norm.y, norm.dy);
    };
    loss();
    norm.backward();
    EXPECT_LT(directional_error(loss, norm.x, norm.dx), 1e-6);
    EXPECT_LT(directional_error(loss, norm.weight, norm.dweight), 1e-6);
    if (masked) {
      EXPECT_LT(directional_error(loss, norm.mask, norm.dmask), 1e-6);
    }
    EXPECT_LT(directional_error(loss, scale, norm.dscale), 1e-6);
  }
}

TYPED_TEST(RmsNorm, GradientsAccumulate) {
  using T = TypeParam;
  auto once = random_norm<T>(70, 20, true), twice = random_norm<T>(70, 20, true);
  once.forward();
  once.backward();
  twice.forward();
  for (int n = 0; n < 2; ++n) twice.backward();
  const auto doubled = [](const auto& view) {
    auto values = to_double(view);
    for (double& v : values) v *= 2;
    return values;
  };
  EXPECT_TRUE(near(twice.dx, doubled(once.dx), stored_tolerance<T>(1)));  // rounded after each
  EXPECT_TRUE(near(twice.dweight, doubled(once.dweight), tolerance<T>(1)));
  EXPECT_TRUE(near(twice.dmask, doubled(once.dmask), tolerance<T>(1)));
  EXPECT_TRUE(near(twice.dscale, doubled(once.dscale), tolerance<T>(1)));
}

// A 0/1 mask over the full width gives the bits of the norm of the prefix:
// zeros add nothing to a sum.
TYPED_TEST(RmsNorm, MaskedEqualsSliced) {
  using T = TypeParam;
  using A = Accumulate<T>;
  for (const index_t kept : {1, 16, 37, 64, 75}) {
    auto masked = random_norm<T>(70, 100, true);
    std::vector<A> mask(100, A(0));
    std::fill_n(mask.begin(), kept, A(1));
    assign(masked.mask, mask);
    Norm<T> sliced(prefix(masked.x, 70, kept), prefix(masked.dy, 70, kept),
                   prefix(masked.weight, kept), {}, masked.params);
    for (auto* norm : {&masked, &sliced}) {
      norm->forward();
      norm->backward();
    }
    EXPECT_TRUE(bitwise_equal(prefix(masked.y, 70, kept), sliced.y)) << kept;
    EXPECT_TRUE(bitwise_equal(masked.rstd, sliced.rstd)) << kept;
    EXPECT_TRUE(bitwise_equal(prefix(masked.dx, 70, kept), sliced.dx)) << kept;
    EXPECT_TRUE(bitwise_equal(prefix(masked.dweight, kept), sliced.dweight)) << kept;
    EXPECT_TRUE(bitwise_equal(masked.dscale, sliced.dscale)) << kept;
  }
}

TYPED_TEST(RmsNorm, AbsentGradientsAndRepeatability) {
  using T = TypeParam;
  using A = Accumulate<T>;
  auto all = random_norm<T>(200, 50, true), few = random_norm<T>(200, 50, true),
       again = random_norm<T>(200, 50, true);
  few.dweight = few.dmask = few.dscale = View1<A>();
  for (auto* norm : {&all, &few, &again}) {
    norm->forward();
    norm->backward();
  }
  EXPECT_TRUE(bitwise_equal(all.dx, few.dx));
  EXPECT_TRUE(bitwise_equal(all.dweight, again.dweight));
  EXPECT_TRUE(bitwise_equal(all.dmask, again.dmask));
  EXPECT_TRUE(bitwise_equal(all.dscale, again.dscale));
}

TYPED_TEST(RmsNorm, RejectsBrokenPreconditions) {
  using T = TypeParam;
  auto norm = random_norm<T>(4, 5, false);
  norm.params.mean_width = 0;
  EXPECT_THROW(norm.forward(), ContractError);
  norm.params.mean_width = 5;
  norm.weight = random_vector<T>(6, 1);
  EXPECT_THROW(norm.forward(), ContractError);
}

TYPED_TEST(RmsNorm, ScalingTheInputDoesNotMatterWithoutEpsilon) {
  using T = TypeParam;
  auto plain = random_norm<T>(5, 40, false), scaled = random_norm<T>(5, 40, false);
  plain.params.epsilon = scaled.params.epsilon = 0;
  auto values = to_host(plain.x);
  for (T& value : values) value = static_cast<T>(8 * widen(value));
  assign(scaled.x, values);
  plain.forward();
  scaled.forward();
  EXPECT_TRUE(bitwise_equal(plain.y, scaled.y));  // a power of two
}

TYPED_TEST(RmsNorm, RowsDoNotDependOnEachOther) {
  using T = TypeParam;
  auto all = random_norm<T>(130, 33, true);
  all.forward();
  for (const index_t t : {0, 64, 129}) {
    Norm<T> one(clone(rows(all.x, t, t + 1)), clone(rows(all.dy, t, t + 1)), all.weight, all.mask,
                all.params);
    one.forward();
    EXPECT_TRUE(bitwise_equal(one.y, clone(rows(all.y, t, t + 1)))) << t;
  }
}

TYPED_TEST(RmsNorm, WrongExtentsAreNamed) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const auto with = [](const auto& change, const std::string& text) {
    auto norm = random_norm<T>(6, 8, true);
    change(norm);
    return refuses([&] { norm.backward(); }, text);
  };
  const auto vector = random_vector<A>(7, 1);
  const auto bad = random_matrix<T>(6, 9, 1);
  EXPECT_TRUE(
      with([&](auto& n) { n.weight = random_vector<T>(7, 1); }, "weight is [7], expected [8]"));
  EXPECT_TRUE(with([&](auto& n) { n.mask = vector; }, "mask is [7], expected [8]"));
  EXPECT_TRUE(with([&](auto& n) { n.rstd = vector; }, "rstd is [7], expected [6]"));
  EXPECT_TRUE(with([&](auto& n) { n.dy = bad; }, "dy is [6, 9], expected [6, 8]"));
  EXPECT_TRUE(with([&](auto& n) { n.dx = bad; }, "dx is [6, 9]"));
  EXPECT_TRUE(with([&](auto& n) { n.dweight = vector; }, "dweight is [7]"));
  EXPECT_TRUE(with([&](auto& n) { n.dmask = vector; }, "dmask is [7]"));
  EXPECT_TRUE(with([&](auto& n) { n.dscale = vector; }, "dscale is [7], expected [1]"));
}

}  // namespace
}  // namespace elastic::kernels
