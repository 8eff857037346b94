// SPDX-License-Identifier: Apache-2.0
// Main of every test program: MPI and Kokkos around GoogleTest. All ranks run;
// failures of any rank fail the test.
#include <gtest/gtest.h>
#include <mpi.h>

#include <Kokkos_Core.hpp>

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0, failed = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  Kokkos::initialize(argc, argv);
  {
    testing::InitGoogleTest(&argc, argv);
    if (rank != 0)
      delete testing::UnitTest::GetInstance()->listeners().Release(
          testing::UnitTest::GetInstance()->listeners().default_result_printer());
    const int mine = RUN_ALL_TESTS();
    if (mine != 0 && rank != 0) fprintf(stderr, "[rank %d] some tests failed\n", rank);
    MPI_Allreduce(&mine, &failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  }
  Kokkos::finalize();
  MPI_Finalize();
  return failed;
}
