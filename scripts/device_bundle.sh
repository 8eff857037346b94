#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Packs what a build made for a device into one archive that runs where neither MPI, HDF5 nor Kokkos are installed:
#
#   scripts/device_bundle.sh BUILD ARCHIVE.tar.xz      then, on the machine with the device:
#   tar xf ARCHIVE.tar.xz && bundle/device_check.sh RESULTS
#
# In it: elastic.x, all test programs, bench_kernels, kernel_times, the shared libraries that these need (but not those of the
# compiler and of CUDA), plugins of Open MPI, fixtures and decks.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

build=${1:?usage: scripts/device_bundle.sh BUILD ARCHIVE.tar.xz}
archive=$(realpath -m "${2:?usage: scripts/device_bundle.sh BUILD ARCHIVE.tar.xz}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
bundle=$folder/bundle
mkdir -p "$bundle"/{bin,lib,tree/unit_tests} "$bundle"/openmpi/{lib,etc,share}

programs=()
while read -r program; do programs+=("$program"); done < <(
  find "$build" -type f -perm -u+x \( -name elastic.x -o -name 'test_*' -o -name bench_kernels \) -not -name '*.*o' | sort)
for program in "${programs[@]}"; do
  cp "$program" "$bundle/bin/"
  strip "$bundle/bin/$(basename "$program")"
done
find "$build" -name 'libkernel_times.so' -exec cp {} "$bundle/bin/" \;

# Libraries that the machine must have itself: the loader's, the compiler's, the driver's and CUDA's.
own='/(ld-linux|libc|libm|libdl|libpthread|librt|libresolv|libutil|libstdc\+\+|libgcc_s|libcuda|libcudart|libcublas|libcublasLt|libcudnn)[.-]'
copy_libraries() {
  ldd "$@" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u | { grep -Ev "$own" || true; } |
    while read -r library; do cp -nL "$library" "$bundle/lib/"; done
}
copy_libraries "${programs[@]}"
plugins=$(dirname "$(ldconfig -p | awk '/libmpi\.so\.40/ { print $NF; exit }')")/openmpi/lib/openmpi3
if [[ -d $plugins ]]; then
  mkdir -p "$bundle/openmpi/lib/openmpi3"
  # One process alone needs no network; the plugins for it would ask for libraries of their own.
  for plugin in ess_singleton btl_self btl_vader allocator_basic allocator_bucket bml_r2 pml_ob1 coll_basic coll_self coll_tuned \
    coll_libnbc coll_inter coll_sync rcache_grdma mpool_hugepage osc_rdma osc_sm osc_pt2pt io_ompio fs_ufs fbtl_posix \
    fcoll_individual fcoll_two_phase fcoll_vulcan fcoll_dynamic fcoll_dynamic_gen2 sharedfp_individual sharedfp_sm \
    sharedfp_lockedfile topo_basic topo_treematch op_avx pmix_isolated pmix_ext3x pmix_pmix3x reachable_weighted shmem_mmap shmem_posix shmem_sysv \
    patcher_overwrite state_app errmgr_default_app grpcomm_direct; do
    if [[ -e $plugins/mca_$plugin.so ]]; then cp "$plugins/mca_$plugin.so" "$bundle/openmpi/lib/openmpi3/"; fi
  done
  copy_libraries "$bundle"/openmpi/lib/openmpi3/*.so
  cp -r /usr/share/openmpi "$bundle/openmpi/share/" 2>/dev/null || true
fi
cp -r unit_tests/fixtures "$bundle/tree/unit_tests/"
cp -r input "$bundle/tree/"
cp scripts/device_check.sh scripts/device_table.py "$bundle/"
tar -C "$folder" -c bundle | xz -6 --lzma2=dict=128MiB -T1 >"$archive"
say "$archive: $(($(stat -c %s "$archive") / 1000000)) MB, ${#programs[@]} programs"
