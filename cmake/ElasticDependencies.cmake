# Finds every library the project uses and gives each one imported target.
# Differences between Kokkos packages are smoothed out here and in src/base/kokkos_compat.hpp, nowhere else.

# --- Kokkos and Kokkos Kernels -------------------------------------------------------------------
find_package(Kokkos REQUIRED)
find_package(KokkosKernels REQUIRED)
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

# --- MPI, HDF5 and small libraries ---------------------------------------------------------------
find_package(MPI REQUIRED COMPONENTS C)
target_compile_definitions(MPI::MPI_C INTERFACE OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)  # C API only
set(HDF5_PREFER_PARALLEL ON)
find_package(HDF5 REQUIRED COMPONENTS C)
find_package(Threads REQUIRED)
find_path(ELASTIC_CLI11_INCLUDE CLI/CLI.hpp REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_path(ELASTIC_RANDOM123_INCLUDE Random123/philox.h REQUIRED)
find_path(ELASTIC_XXHASH_INCLUDE xxhash.h REQUIRED)
find_library(ELASTIC_XXHASH_LIBRARY xxhash REQUIRED)
