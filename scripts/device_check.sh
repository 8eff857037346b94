#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The check of a device, from a bundle of scripts/device_bundle.sh; 8 minutes at most, no MPI launcher needed:
#
#   bundle/device_check.sh RESULTS [STEP...]
#
# Steps, all by default: tests (every unit test that needs one rank), kernels (times of kernels in bfloat16 at the 12B's
# shapes beside copy and product rates), step (training steps of a slice of the 12B). RESULTS gets a log of each, results.json
# and table.txt, which is printed at the end.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [[ ${1:-} == --one-suite ]]; then one_suite_only=1; shift; fi
results=$(realpath -m "${1:?usage: device_check.sh RESULTS [tests] [kernels] [step]}")
shift
steps=${*:-kernels step tests}
mkdir -p "$results"

# CUDA's libraries lie in its folder, or in a Python environment.
cuda=$(python3 -c 'import nvidia, pathlib; print(":".join(str(p) for r in nvidia.__path__ for p in pathlib.Path(r).glob("*/lib")))' 2>/dev/null)
export LD_LIBRARY_PATH=$here/lib:/usr/local/cuda/lib64:$cuda:${LD_LIBRARY_PATH:-}
export ELASTIC_SOURCE_FOLDER=$here/tree OMPI_MCA_mca_base_component_path=$here/openmpi OMPI_MCA_ess_singleton_isolated=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl=self OMPI_MCA_pml=ob1 OMP_NUM_THREADS=1

# Every suite of tests in a process of its own: what one breaks on the device is not laid to the next.
run_tests() {
  local program
  for program in $(find "$here/bin" -name 'test_*' -not -name 'test_mpi_*' -printf '%f\n' | sort); do
    "$here/bin/$program" --gtest_list_tests 2>/dev/null | sed -n "s|^\([A-Za-z_][A-Za-z0-9_/]*\)\..*|$program \1|p"
  done >"$results/suites.txt"
  timeout "${ALL_TESTS_SECONDS:-180}" xargs -r -P "${TEST_JOBS:-8}" -L 1 "$here/device_check.sh" --one-suite "$results" <"$results/suites.txt"
}
one_suite() {
  local results=$1 program=$2 suite=$3 name
  name=$program.$(tr '/' '_' <<<"$suite")
  timeout -k 5 "${TEST_SECONDS:-60}" "$here/bin/$program" --gtest_filter="$suite.*" --gtest_output=json:"$results/$name.json" \
    >"$results/$name.log" 2>&1
  echo "$name $?" >>"$results/exit_codes.txt"
}
kernels='^(rmsnorm|gated_rmsnorm|residual_add|squared_relu|embedding|ssd|causal_conv1d|attention)[a-z_]*_bf16/nano12b'
kernels+='|^gemm_bf16_(forward|input|weight)/nano12b|^gemm_batched_bf16_(scores|chunk|states|carried)/nano12b'
kernels+='|^gemm_forward/nano12b|cross_entropy_bf16|kl_divergence_bf16|sum_of_squares/nano12b|adamw_step_bf16/nano12b'
run_kernels() {
  timeout "${BENCH_SECONDS:-100}" "$here/bin/bench_kernels" --benchmark_filter="${BENCH_FILTER:-$kernels}" --benchmark_min_time=0.05 --benchmark_out="$results/bench.json" --benchmark_out_format=json >"$results/bench.log" 2>&1
  echo "bench_kernels $?" >>"$results/exit_codes.txt"
}
run_step() {
  (cd "$results" && rm -rf step && timeout "${STEP_SECONDS:-90}" "$here/bin/elastic.x" "$here/tree/input/nano12b_device.in" \
    job/folder="$results/step" ${STEP_OVERRIDES:-} >"$results/step.log" 2>&1)
  echo "elastic.x $?" >>"$results/exit_codes.txt"
  KOKKOS_TOOLS_LIBS=$here/bin/libkernel_times.so KERNEL_TIMES_OUT=$results/kernel_times.json \
    timeout "${STEP_SECONDS:-90}" "$here/bin/elastic.x" "$here/tree/input/nano12b_device.in" job/folder="$results/profiled" \
    pretrain/steps=2 job/phases=pretrain ${STEP_OVERRIDES:-} >"$results/profiled.log" 2>&1
  echo "profiled $?" >>"$results/exit_codes.txt"
  rm -rf "$results"/{step,profiled}/*.h5
}

if [[ ${one_suite_only:-} ]]; then
  one_suite "$results" "$@"
  exit
fi
nvidia-smi --query-gpu=name,memory.total,driver_version,clocks.sm,clocks.mem --format=csv,noheader >"$results/device.txt" 2>&1
for step in $steps; do "run_$step"; done
python3 "$here/device_table.py" "$results" | tee "$results/table.txt"
