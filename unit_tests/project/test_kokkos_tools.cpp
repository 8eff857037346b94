// SPDX-License-Identifier: Apache-2.0
// What Kokkos is told at run time: kernels, allocations and regions have names that start with
// elastic::, so that a profile can be read. Kokkos's own work (initialisation of Views, copies) is
// named Kokkos::... and says whose it is.
#include <gmock/gmock.h>

#include <set>

#include "base/region.hpp"
#include "kernels/gemm.hpp"
#include "optim/adamw.hpp"
#include "optim/grad_clip.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic {
namespace {

/// Names that Kokkos reports while one of these lives.
class Recorder {
 public:
  Recorder() {
    namespace tools = Kokkos::Tools::Experimental;
    names().clear();
    tools::set_begin_parallel_for_callback(on_kernel);
    tools::set_begin_parallel_reduce_callback(on_kernel);
    tools::set_begin_parallel_scan_callback(on_kernel);
    tools::set_allocate_data_callback([](Kokkos_Profiling_SpaceHandle, const char* name,
                                         const void*, std::uint64_t) { names().insert(name); });
    tools::set_push_region_callback([](const char* name) { names().insert(name); });
  }
  ~Recorder() {
    namespace tools = Kokkos::Tools::Experimental;
    tools::set_begin_parallel_for_callback(nullptr);
    tools::set_begin_parallel_reduce_callback(nullptr);
    tools::set_begin_parallel_scan_callback(nullptr);
    tools::set_allocate_data_callback(nullptr);
    tools::set_push_region_callback(nullptr);
  }
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  static std::set<std::string>& names() {
    static std::set<std::string> instance;
    return instance;
  }
  /// Names that neither start with elastic:: nor are Kokkos's own work on a View called
  /// elastic::...
  static std::vector<std::string> strange_names() {
    std::vector<std::string> result;
    for (const std::string& name : names()) {
      const auto bracket = name.find('[');
      const bool own = name.rfind("elastic::", 0) == 0;
      const bool of_kokkos = name.rfind("Kokkos", 0) == 0 &&
                             (name.find("Kokkos::View::") != 0 || bracket == std::string::npos ||
                              name.compare(bracket + 1, 9, "elastic::") == 0);
      if (!own && !of_kokkos) result.push_back(name);
    }
    return result;
  }

 private:
  static void on_kernel(const char* name, std::uint32_t, std::uint64_t* id) {
    *id = 0;
    names().insert(name);
  }
};

TEST(KokkosTools, FindsWhatIsNotNamed) {
  const Recorder recorder;
  const View1<double> x("named_by_nobody", 3);
  Kokkos::parallel_for(
      Kokkos::RangePolicy<ExecutionSpace>(0, 3), KOKKOS_LAMBDA(const int i) { x(i) = i; });
  double sum = 0;
  Kokkos::parallel_reduce(
      "sum", Kokkos::RangePolicy<ExecutionSpace>(0, 3),
      KOKKOS_LAMBDA(const int i, double& s) { s += x(i); }, sum);
  Kokkos::Profiling::pushRegion("region");
  Kokkos::Profiling::popRegion();
  EXPECT_THAT(recorder.strange_names(),
              testing::IsSupersetOf({"named_by_nobody", "sum", "region"}));
  EXPECT_EQ(recorder.strange_names().size(),
            4 + recorder.names().count("Kokkos::View::initialization [named_by_nobody]"));
}

TEST(KokkosTools, OptimizerAndProductsAreNamed) {
  const ExecutionSpace exec;
  const Recorder recorder;
  {
    const Region region("step");
    ParameterStore<float> store;
    store.add({.name = "w", .rows = 8, .columns = 8});
    store.allocate(true);
    AdamW<float> optimizer(store);
    const auto clip = clip_gradients<float>(exec, {store.gradients()}, 1.0);
    optimizer.step(exec, {}, 1e-3, 1, clip.scale);
    const auto& w = store[0];
    kernels::gemm<float>(exec, kernels::Transpose::no, kernels::Transpose::yes, 1, w.value, w.value,
                         0, w.gradient);
  }
  EXPECT_THAT(recorder.names(),
              testing::IsSupersetOf({"elastic::step", "elastic::parameter_values"}));
  EXPECT_THAT(recorder.strange_names(), testing::IsEmpty());
}

}  // namespace
}  // namespace elastic
