# Finds every library the project uses and gives each one imported target.
# Differences between Kokkos packages are smoothed out here and in src/base/kokkos_compat.hpp, nowhere else.

include(ElasticFind)

elastic_find(Kokkos DEBIAN libtrilinos-kokkos-dev SPACK kokkos)
elastic_find(KokkosKernels DEBIAN libtrilinos-kokkos-kernels-dev SPACK kokkos-kernels)
elastic_find(MPI DEBIAN libopenmpi-dev SPACK openmpi COMPONENTS C)
set(HDF5_PREFER_PARALLEL ON)
elastic_find(HDF5 DEBIAN libhdf5-openmpi-dev SPACK "hdf5 +mpi" COMPONENTS C)
elastic_find(fmt DEBIAN libfmt-dev SPACK fmt)
elastic_find(spdlog DEBIAN libspdlog-dev SPACK spdlog)
elastic_find(nlohmann_json DEBIAN nlohmann-json3-dev SPACK nlohmann-json)
elastic_find_header(ELASTIC_CLI11_INCLUDE CLI/CLI.hpp DEBIAN libcli11-dev SPACK cli11)
elastic_find_header(ELASTIC_RANDOM123_INCLUDE Random123/philox.h DEBIAN librandom123-dev SPACK random123)
elastic_find_header(ELASTIC_XXHASH_INCLUDE xxhash.h DEBIAN libxxhash-dev SPACK xxhash)
elastic_find_library(ELASTIC_XXHASH_LIBRARY xxhash DEBIAN libxxhash-dev SPACK xxhash)
if(ELASTIC_UNIT_TESTS)
  elastic_find(GTest DEBIAN "libgtest-dev libgmock-dev" SPACK "googletest +gmock")
endif()
if(ELASTIC_BENCHMARKS)
  elastic_find(benchmark DEBIAN libbenchmark-dev SPACK benchmark)
endif()
elastic_require_found()
find_package(Threads REQUIRED)
elastic_require_kokkos(${ELASTIC_KOKKOS_FOR})

# --- Kokkos and Kokkos Kernels -------------------------------------------------------------------
add_library(elastic_kokkos INTERFACE)
add_library(elastic::kokkos ALIAS elastic_kokkos)
if(Kokkos_VERSION VERSION_LESS 3.7)
  # Debian's Trilinos package names an include directory that does not exist; point at the real one.
  list(GET Kokkos_INCLUDE_DIRS 0 elastic_kokkos_include)
  if(NOT EXISTS ${elastic_kokkos_include}/Kokkos_Core.hpp)
    find_path(elastic_kokkos_include_found Kokkos_Core.hpp PATH_SUFFIXES trilinos REQUIRED)
    set(elastic_kokkos_include ${elastic_kokkos_include_found})
  endif()
  set_target_properties(Kokkos::kokkos PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${elastic_kokkos_include})
endif()
target_link_libraries(elastic_kokkos INTERFACE Kokkos::kokkos)
if(TARGET Kokkos::kokkoskernels)
  target_link_libraries(elastic_kokkos INTERFACE Kokkos::kokkoskernels)
else()
  target_include_directories(elastic_kokkos SYSTEM INTERFACE ${KokkosKernels_INCLUDE_DIRS})
  target_link_libraries(elastic_kokkos INTERFACE ${KokkosKernels_LIBRARIES})
endif()

# --- matrix products on the host -----------------------------------------------------------------
# (Debian's dnnl CMake package insists on OpenCL headers that we do not need, so look for the library itself.)
find_path(ELASTIC_DNNL_INCLUDE dnnl.h)
find_library(ELASTIC_DNNL_LIBRARY dnnl)
add_library(elastic_dnnl INTERFACE)
add_library(elastic::dnnl ALIAS elastic_dnnl)
if(ELASTIC_DNNL_INCLUDE AND ELASTIC_DNNL_LIBRARY)
  target_include_directories(elastic_dnnl SYSTEM INTERFACE ${ELASTIC_DNNL_INCLUDE})
  target_link_libraries(elastic_dnnl INTERFACE ${ELASTIC_DNNL_LIBRARY})
  target_compile_definitions(elastic_dnnl INTERFACE ELASTIC_HAVE_DNNL)
endif()

# --- MPI -----------------------------------------------------------------------------------------
target_compile_definitions(MPI::MPI_C INTERFACE OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)  # C API only
