// SPDX-License-Identifier: Apache-2.0
// What Kokkos is told at run time: kernels, allocations and regions have names that start with
// elastic::, so that a profile can be read. Kokkos's own work (initialisation of Views, copies) is
// named Kokkos::... and says whose it is. Regions that open are closed, and kernels run where the
// caller wants them: on the execution space instance that it hands over.
#include <gmock/gmock.h>

#include <algorithm>
#include <set>
#include <vector>

#include "base/region.hpp"
#include "model/generation.hpp"
#include "model/initialization.hpp"
#include "model/losses.hpp"
#include "optim/adamw.hpp"
#include "optim/grad_clip.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

/// What Kokkos reports while one of these lives: names, open regions, and our kernels inside of
/// regions with the devices that they were launched on (an instance is a device to tools).
class Recorder {
 public:
  Recorder() {
    namespace tools = Kokkos::Tools::Experimental;
    names().clear();
    launches().clear();
    open_regions() = least_open_regions() = 0;
    tools::set_begin_parallel_for_callback(on_kernel);
    tools::set_begin_parallel_reduce_callback(on_kernel);
    tools::set_begin_parallel_scan_callback(on_kernel);
    tools::set_allocate_data_callback([](Kokkos_Profiling_SpaceHandle, const char* name,
                                         const void*, std::uint64_t) { names().insert(name); });
    tools::set_push_region_callback([](const char* name) {
      names().insert(name);
      ++open_regions();
    });
    tools::set_pop_region_callback([] {
      --open_regions();
      least_open_regions() = std::min(least_open_regions(), open_regions());
    });
  }
  ~Recorder() {
    namespace tools = Kokkos::Tools::Experimental;
    tools::set_begin_parallel_for_callback(nullptr);
    tools::set_begin_parallel_reduce_callback(nullptr);
    tools::set_begin_parallel_scan_callback(nullptr);
    tools::set_allocate_data_callback(nullptr);
    tools::set_push_region_callback(nullptr);
    tools::set_pop_region_callback(nullptr);
  }
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  static std::set<std::string>& names() {
    static std::set<std::string> instance;
    return instance;
  }
  static std::set<std::pair<std::string, std::uint32_t>>& launches() {
    static std::set<std::pair<std::string, std::uint32_t>> instance;
    return instance;
  }
  static int& open_regions() {
    static int count = 0;
    return count;
  }
  static int& least_open_regions() {
    static int count = 0;
    return count;
  }
  /// Names that neither start with elastic::
  /// nor are Kokkos's own work on a View called elastic::...
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
  static void on_kernel(const char* name, std::uint32_t device, std::uint64_t* id) {
    *id = 0;
    names().insert(name);
    if (open_regions() > 0 && std::string(name).rfind("elastic::", 0) == 0)
      launches().emplace(name, device);
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

/// One training step with every mask on, its teacher, and a few generated tokens:
/// passes through nearly all kernels.
void train_and_generate(const ExecutionSpace& exec) {
  const ModelShape shape{
      .vocab_size = 16,
      .hidden_size = 8,
      .mamba_state_dim = 4,
      .chunk_size = 4,
      .layers = {
          {LayerKind::mamba, 4, 2, 2}, {LayerKind::mlp, 16}, {LayerKind::attention, 4, 2, 2}}};
  LanguageModel<float> model(shape);
  initialize(model, 0.02, 1);
  Arena arena;
  const LayerContext context{
      .exec = exec, .arena = &arena, .batch = 2, .seq_length = 6, .segment = {}};
  const auto widths = masked_widths<float>(shape, full_spec(shape), true);
  const View1<token_t> tokens("elastic::tokens", 12);
  const View1<float> weight("elastic::weight", 12);
  Kokkos::deep_copy(weight, 1.0f);

  const Region region("step");
  auto pass = model.make_pass(Keep::everything);
  model.forward(context, widths, tokens, pass);
  const View2<float> dhidden("elastic::dhidden", 12, 8);
  differentiate_losses<float>(context, model, pass.hidden, {tokens, weight}, {&model, pass.hidden},
                              {.distillation_weight = 1}, 1, dhidden);
  model.backward(context, widths, tokens, pass, dhidden);
  AdamW<float> optimizer(model.parameters());
  const auto clip = clip_gradients<float>(exec, {model.parameters().gradients()}, 1.0);
  optimizer.step(exec, {}, 1e-3, 1, clip.scale);
  generate_greedy<float>({exec}, arena, model, prefix_widths<float>(shape, full_spec(shape)),
                         {{1, 2}, {3}}, {.max_length = 5});
}

TEST(KokkosTools, TrainingAndGenerationAreNamed) {
  const Recorder recorder;
  train_and_generate(ExecutionSpace());
  EXPECT_THAT(recorder.names(), testing::IsSupersetOf({"elastic::step", "elastic::parameter_values",
                                                       "elastic::arena"}));
  EXPECT_GT(recorder.names().size(), 40u);  // the recorder sees kernels at all
  EXPECT_THAT(recorder.strange_names(), testing::IsEmpty());
}

TEST(KokkosTools, EveryRegionIsClosedAndNoneThatWasNotOpened) {
  const Recorder recorder;
  train_and_generate(ExecutionSpace());
  EXPECT_FALSE(recorder.launches().empty());  // kernels were launched inside of regions
  EXPECT_EQ(recorder.open_regions(), 0);
  EXPECT_EQ(recorder.least_open_regions(), 0);
}

TEST(KokkosTools, KernelsRunOnTheInstanceThatTheyAreGiven) {
#if KOKKOS_VERSION < 40000
  GTEST_SKIP() << "this Kokkos cannot make instances of " << ExecutionSpace::name();
#else
  const ExecutionSpace other =
      Kokkos::Experimental::partition_space(ExecutionSpace(), std::vector<int>{1})[0];
  const auto own = Kokkos::Tools::Experimental::device_id(other);
  if (own == Kokkos::Tools::Experimental::device_id(ExecutionSpace()))
    GTEST_SKIP() << ExecutionSpace::name() << " has one instance";
  const Recorder recorder;
  train_and_generate(other);
  EXPECT_GT(recorder.launches().size(), 30u);
  for (const auto& [name, device] : recorder.launches()) EXPECT_EQ(device, own) << name;
#endif
}

}  // namespace
}  // namespace elastic::test
