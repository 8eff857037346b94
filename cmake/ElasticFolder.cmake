# One static library per folder of src/, one test program per folder of unit_tests/.
add_library(elastic_options INTERFACE)
target_include_directories(elastic_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
# HDF5 2 says how wide offsets in files are. A precompiled header serves only sources that have the same definitions.
foreach(library ${HDF5_C_LIBRARIES})
  if(TARGET ${library})
    target_compile_definitions(elastic_options INTERFACE $<TARGET_PROPERTY:${library},INTERFACE_COMPILE_DEFINITIONS>)
  endif()
endforeach()
target_compile_options(elastic_options INTERFACE -Wall -Wextra -fno-math-errno -fno-trapping-math -fopenmp-simd)
if(ELASTIC_CCACHE AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  target_compile_options(elastic_options INTERFACE -fpch-preprocess)
elseif(ELASTIC_CCACHE AND CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_options(elastic_options INTERFACE "SHELL:-Xclang -fno-pch-timestamp")
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  # How functions pass vectors wider than the processor's has changed between compilers; ours are inlined.
  target_compile_options(elastic_options INTERFACE -Wno-psabi)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_options(elastic_options INTERFACE -Wno-pass-failed)  # a loop that it does not vectorise
endif()
if(ELASTIC_NATIVE)
  target_compile_options(elastic_options INTERFACE -march=native)
endif()
if(ELASTIC_WERROR)
  target_compile_options(elastic_options INTERFACE -Werror)
endif()

# elastic_folder(NAME LINK libraries...): every .cpp of the current folder and its sub-folders becomes library elastic_NAME.
# The first folder (base) carries the precompiled Kokkos header, the others reuse it.
function(elastic_folder name)
  cmake_parse_arguments(arg "" "" "LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  if(NOT sources)
    return()
  endif()
  add_library(elastic_${name} STATIC ${sources})
  target_link_libraries(elastic_${name} PUBLIC elastic_options ${arg_LINK})
  if(name STREQUAL base)
    target_precompile_headers(elastic_${name} PRIVATE <Kokkos_Core.hpp> <fmt/format.h> <string> <vector>)
  else()
    target_precompile_headers(elastic_${name} REUSE_FROM elastic_base)
  endif()
endfunction()

# elastic_without_contraction(SOURCES...): a * b + c rounds twice whatever the processor can do, so that integers which
# come out of floating point (whose turn it is, which budget fits) are the same on every build.
function(elastic_without_contraction)
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS -ffp-contract=off SKIP_PRECOMPILE_HEADERS ON)
endfunction()

# Every test: one thread per rank, two where Kokkos has threads; these sleep while they wait, since tests and ranks share cores.
set(ELASTIC_TEST_THREADS 1)
if("OPENMP" IN_LIST Kokkos_DEVICES)
  set(ELASTIC_TEST_THREADS 2)
endif()
# Ranks start as root, on fewer cores too and bound to none. Open MPI does none of this unasked, and asks by another name
# in 5 (whose launcher is PRRTE 3) and in 6 (PRRTE 4). Other launchers do not read these names.
set(ELASTIC_TEST_LAUNCHER OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1)
execute_process(COMMAND ${MPIEXEC_EXECUTABLE} --version OUTPUT_VARIABLE elastic_launcher ERROR_QUIET)
if(NOT elastic_launcher MATCHES "Open MPI\\) ([0-9]+)" OR CMAKE_MATCH_1 VERSION_LESS 5)
  list(APPEND ELASTIC_TEST_LAUNCHER OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none)
elseif(CMAKE_MATCH_1 VERSION_LESS 6)
  list(APPEND ELASTIC_TEST_LAUNCHER PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
    PRTE_MCA_hwloc_default_binding_policy=none)
else()
  list(APPEND ELASTIC_TEST_LAUNCHER PRTE_MCA_mapby=:oversubscribe PRTE_MCA_bindto=none)
endif()
set(ELASTIC_TEST_ENVIRONMENT OMP_NUM_THREADS=${ELASTIC_TEST_THREADS} OMP_WAIT_POLICY=passive OMP_PROC_BIND=false OPENBLAS_NUM_THREADS=1
  ${ELASTIC_TEST_LAUNCHER})

# elastic_test_folder(NAME [LIBRARIES...]): test_*.cpp of unit_tests/NAME becomes the program test_NAME and one
# CTest per file; files named test_mpi_*.cpp run on 2 ranks, and on those of elastic_test_on_ranks.
function(elastic_test_folder name)
  set(folder ${PROJECT_SOURCE_DIR}/unit_tests/${name})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${folder}/test_*.cpp)
  if(NOT sources OR NOT TARGET elastic_${name})
    return()
  endif()
  foreach(kind serial mpi)
    set(files ${sources})
    if(kind STREQUAL serial)
      list(FILTER files EXCLUDE REGEX "test_mpi_")
      set(program test_${name})
      set(launcher)
    else()
      list(FILTER files INCLUDE REGEX "test_mpi_")
      set(program test_mpi_${name})
      set(launcher ${MPIEXEC_EXECUTABLE} ${ELASTIC_MPIEXEC_FLAGS} ${MPIEXEC_NUMPROC_FLAG} 2)
    endif()
    if(files)
      add_executable(${program} ${files})
      target_link_libraries(${program} PRIVATE elastic_test_support elastic_${name} ${ARGN})
      target_precompile_headers(${program} REUSE_FROM elastic_test_support)
      add_test(NAME ${program} COMMAND ${launcher} $<TARGET_FILE:${program}>)
      set_tests_properties(${program} PROPERTIES TIMEOUT 300 LABELS ${name}
        ENVIRONMENT "${ELASTIC_TEST_ENVIRONMENT}")
      if(kind STREQUAL mpi)
        set_tests_properties(${program} PROPERTIES PROCESSORS 2)
      endif()
    endif()
  endforeach()
endfunction()

# elastic_test_on_ranks(NAME RANKS...): test_mpi_NAME once more on each of these numbers of ranks.
function(elastic_test_on_ranks name)
  foreach(ranks ${ARGN})
    add_test(NAME test_mpi_${name}_${ranks} COMMAND ${MPIEXEC_EXECUTABLE} ${ELASTIC_MPIEXEC_FLAGS}
      ${MPIEXEC_NUMPROC_FLAG} ${ranks} $<TARGET_FILE:test_mpi_${name}>)
    set_tests_properties(test_mpi_${name}_${ranks} PROPERTIES TIMEOUT 300 LABELS ${name} PROCESSORS 2
      ENVIRONMENT "${ELASTIC_TEST_ENVIRONMENT}")
  endforeach()
endfunction()
