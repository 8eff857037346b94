# SPDX-License-Identifier: Apache-2.0
# Spack recipe; Spack 1.0 or newer. In the root of the tree:
#   spack repo add packaging/spack/spack_repo/elastic
#   spack dev-build elastic-x@0.2.0                                                     one rank per core
#   spack dev-build elastic-x@0.2.0 +cuda cuda_arch=90 ^kokkos+wrapper                  an NVIDIA GPU
#   spack dev-build elastic-x@0.2.0 +rocm amdgpu_target=gfx90a                          an AMD GPU
from spack_repo.builtin.build_systems.cmake import CMakePackage
from spack_repo.builtin.build_systems.cuda import CudaPackage
from spack_repo.builtin.build_systems.rocm import ROCmPackage

from spack.package import *


class ElasticX(CMakePackage, CudaPackage, ROCmPackage):
    """Trains elastic hybrid Mamba-2 / attention / MLP language models: one parent, many nested submodels, one training run."""

    homepage = "https://arxiv.org/abs/2511.16664"
    manual_download = True  # sources are the tree that this recipe lies in: spack dev-build, or spack develop --path

    license("Apache-2.0")

    version("0.2.0")

    variant("openmp", default=False, description="Threads of a rank on processors")
    variant("native", default=True, description="Compile for the processor of this machine")
    variant("tests", default=False, description="Build the unit tests")

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("cmake@3.22:", type="build")
    depends_on("ninja", type="build")
    depends_on("mpi")
    depends_on("hdf5@1.10.7: +mpi")
    depends_on("kokkos@3.4: cxxstd=20 +serial")
    depends_on("cli11")
    depends_on("fmt")
    depends_on("spdlog")
    depends_on("nlohmann-json")
    depends_on("random123")
    depends_on("xxhash")
    depends_on("python@3.9:", type="run")
    depends_on("py-matplotlib", type="run")
    depends_on("py-h5py", type="run")
    depends_on("googletest +gmock", when="+tests")

    with when("~cuda ~rocm"):  # products of processors
        depends_on("onednn")
        depends_on("openblas")
    depends_on("openblas threads=openmp", when="+openmp ~cuda ~rocm")
    depends_on("kokkos +openmp", when="+openmp")
    depends_on("kokkos-kernels +rocblas", when="+rocm")
    for _arch in CudaPackage.cuda_arch_values:
        depends_on(f"kokkos@4.7.01: +cuda cuda_arch={_arch}", when=f"+cuda cuda_arch={_arch}")
    for _target in ROCmPackage.amdgpu_targets:
        depends_on(f"kokkos +rocm amdgpu_target={_target}", when=f"+rocm amdgpu_target={_target}")
    conflicts("+cuda", when="+rocm")
    conflicts("cuda_arch=none", when="+cuda", msg="give the architecture of the GPU, e.g. cuda_arch=90")
    conflicts("amdgpu_target=none", when="+rocm", msg="give the architecture of the GPU, e.g. amdgpu_target=gfx90a")

    generator("ninja")

    def cmake_args(self):
        args = [
            self.define_from_variant("ELASTIC_NATIVE", "native"),
            self.define_from_variant("ELASTIC_UNIT_TESTS", "tests"),
            self.define("Kokkos_ROOT", self.spec["kokkos"].prefix),
        ]
        if self.spec.satisfies("+cuda"):
            args += [
                self.define("CMAKE_CXX_COMPILER", self["kokkos"].kokkos_cxx),
                self.define("CMAKE_CXX_FLAGS", "-DFMT_USE_CONSTEXPR=1"),
                self.define("CMAKE_DISABLE_PRECOMPILE_HEADERS", True),
                self.define("ELASTIC_KOKKOS_FOR", "CUDA"),
            ]
        if self.spec.satisfies("+rocm"):
            args += [
                self.define("CMAKE_CXX_COMPILER", self.spec["hip"].hipcc),
                self.define("ELASTIC_KOKKOS_FOR", "HIP"),
            ]
        return args
