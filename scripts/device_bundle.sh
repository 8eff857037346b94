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
mkdir -p "$bundle"/{bin,lib,openmpi,tree/unit_tests}

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
# One process alone needs no network; the plugins for fast ones ask for libraries of their own.
plugins=$(ompi_info --path pkglibdir 2>/dev/null | awk '{ print $2 }' || true)
if [[ -d $plugins ]]; then
  find "$plugins" -name 'mca_*.so' -not -name '*_tm.so' |
    { grep -Ev 'openib|ofi|psm|ucx|usnic|ugni|portals|yoda|hcoll|mxm|fca|slurm|alps|lsf' || true; } |
    xargs -I{} cp {} "$bundle/openmpi/"
  copy_libraries "$bundle"/openmpi/*.so
fi
cp -r unit_tests/fixtures "$bundle/tree/unit_tests/"
cp -r input "$bundle/tree/"
cp scripts/device_check.sh scripts/device_table.py "$bundle/"
tar -C "$folder" -c bundle | xz --lzma2=preset=1,dict=96MiB -T1 >"$archive"
say "$archive: $(($(stat -c %s "$archive") / 1000000)) MB, ${#programs[@]} programs"
