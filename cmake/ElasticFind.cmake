# Looks for libraries and, at the end, names all that are missing in one message, with what to do about each.
set_property(GLOBAL PROPERTY ELASTIC_MISSING "")

# elastic_find(NAME DEBIAN package SPACK spec [arguments of find_package]): a CMake package. -DNAME_ROOT=FOLDER says where.
# A macro: what the package sets belongs to the caller.
macro(elastic_find name debian_ debian spack_ spack)
  find_package(${name} QUIET ${ARGN})
  if(NOT ${name}_FOUND)
    elastic_missing("${name}" "${debian}" "${spack}" "-D${name}_ROOT=FOLDER")
  endif()
endmacro()

# elastic_find_header(VARIABLE header DEBIAN package SPACK spec): the folder that the header lies in.
function(elastic_find_header variable header debian_ debian spack_ spack)
  find_path(${variable} ${header})
  if(NOT ${variable})
    elastic_missing("${header}" "${debian}" "${spack}" "-D${variable}=FOLDER")
  endif()
endfunction()

# elastic_find_library(VARIABLE library DEBIAN package SPACK spec)
function(elastic_find_library variable library debian_ debian spack_ spack)
  find_library(${variable} ${library})
  if(NOT ${variable})
    elastic_missing("lib${library}" "${debian}" "${spack}" "-D${variable}=FILE")
  endif()
endfunction()

function(elastic_missing what debian spack variable)
  set_property(GLOBAL APPEND PROPERTY ELASTIC_MISSING
    "  ${what}: Debian package ${debian}, Spack or module ${spack}, else ${variable}")
endfunction()

# Stops here if anything was not found.
function(elastic_require_found)
  get_property(missing GLOBAL PROPERTY ELASTIC_MISSING)
  if(missing)
    list(LENGTH missing count)
    list(JOIN missing "\n" lines)
    message(FATAL_ERROR "elastic: not found: ${count}\n${lines}\n"
      "  On Debian 12 scripts/setup.sh installs all packages. Elsewhere load modules or let Spack provide everything\n"
      "  (spack env activate . && spack install), or say where a library is with the variable at the end of its line.")
  endif()
endfunction()

# elastic_require_kokkos(WORDS...): what the Kokkos that was found must be built for, e.g. CUDA HOPPER90.
function(elastic_require_kokkos)
  foreach(word ${ARGN})
    if(NOT word IN_LIST Kokkos_DEVICES AND NOT word IN_LIST Kokkos_ARCH)
      message(FATAL_ERROR "elastic: Kokkos is not built for ${word}\n"
        "  The one in ${Kokkos_DIR} is built for: ${Kokkos_DEVICES} ${Kokkos_ARCH}\n"
        "  Name another with the environment variable Kokkos_ROOT or -DKokkos_ROOT=FOLDER. Kokkos itself is configured with\n"
        "  -DKokkos_ENABLE_CUDA=ON -DKokkos_ARCH_HOPPER90=ON (or other words), in Spack: kokkos +cuda +wrapper cuda_arch=90.")
    endif()
  endforeach()
endfunction()

# elastic_require_empty_views(TARGET): a View that nobody filled must know that it owns nothing. g++ 12.2 writes zeros over that
# flag in Views of one dimension as Kokkos 4.6 has them by default; programs end with a segmentation fault.
function(elastic_require_empty_views kokkos)
  if(CMAKE_CROSSCOMPILING OR Kokkos_VERSION VERSION_LESS 4.5 OR Kokkos_DEVICES MATCHES "CUDA|HIP|SYCL")
    return()
  endif()
  include(CheckCXXSourceRuns)
  set(CMAKE_REQUIRED_LIBRARIES ${kokkos})
  set(CMAKE_REQUIRED_QUIET ON)
  check_cxx_source_runs("
    #include <Kokkos_Core.hpp>
    int main() { Kokkos::View<float*, Kokkos::LayoutRight, Kokkos::HostSpace> empty; }" ELASTIC_EMPTY_VIEWS)
  if(NOT ELASTIC_EMPTY_VIEWS)
    message(FATAL_ERROR "elastic: ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION} miscompiles Views of Kokkos ${Kokkos_VERSION}\n"
      "  Take another compiler (-DCMAKE_CXX_COMPILER=..., in an empty build folder), or a Kokkos that was configured with\n"
      "  -DKokkos_ENABLE_IMPL_VIEW_LEGACY=ON -DKokkos_ENABLE_IMPL_MDSPAN=OFF.")
  endif()
endfunction()
