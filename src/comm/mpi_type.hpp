// SPDX-License-Identifier: Apache-2.0
// The MPI name of an element type. Internal to comm. bfloat16 travels as 16 bits; MPI could not add
// it, and nobody asks it to (comm/summable.hpp).
#pragma once
#include <mpi.h>

#include "base/types.hpp"

namespace elastic::impl {

template <class T>
MPI_Datatype mpi_type();
template <>
inline MPI_Datatype mpi_type<float>() {
  return MPI_FLOAT;
}
template <>
inline MPI_Datatype mpi_type<double>() {
  return MPI_DOUBLE;
}
template <>
inline MPI_Datatype mpi_type<bfloat16>() {
  return MPI_UINT16_T;
}
template <>
inline MPI_Datatype mpi_type<index_t>() {
  return MPI_INT64_T;
}
template <>
inline MPI_Datatype mpi_type<int>() {
  return MPI_INT;
}

}  // namespace elastic::impl
