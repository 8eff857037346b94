// SPDX-License-Identifier: Apache-2.0
// A group of ranks: ownership of the MPI communicator.
#include "comm/communicator.hpp"

#include "comm/collective_guard.hpp"
#include "comm/mpi_environment.hpp"

#include <utility>

namespace elastic {

namespace {

MPI_Comm duplicate(MPI_Comm comm) {
  MPI_Comm copy = MPI_COMM_NULL;
  ELASTIC_CHECK_MPI(MPI_Comm_dup(comm, &copy));
  return copy;
}

}  // namespace

Communicator Communicator::world() { return Communicator(duplicate(MPI_COMM_WORLD)); }
Communicator Communicator::self() { return Communicator(duplicate(MPI_COMM_SELF)); }

Communicator::Communicator(MPI_Comm owned, bool deterministic)
    : m_handle(owned), m_deterministic(deterministic) {
  ELASTIC_CHECK_MPI(MPI_Comm_set_errhandler(m_handle, MPI_ERRORS_RETURN));
  ELASTIC_CHECK_MPI(MPI_Comm_rank(m_handle, &m_rank));
  ELASTIC_CHECK_MPI(MPI_Comm_size(m_handle, &m_size));
}

Communicator::Communicator(Communicator&& other) noexcept
    : m_handle(std::exchange(other.m_handle, MPI_COMM_NULL)),
      m_rank(other.m_rank),
      m_size(other.m_size),
      m_deterministic(other.m_deterministic) {}

Communicator& Communicator::operator=(Communicator&& other) noexcept {
  if (this == &other) return *this;
  release();
  m_handle = std::exchange(other.m_handle, MPI_COMM_NULL);
  m_rank = other.m_rank;
  m_size = other.m_size;
  m_deterministic = other.m_deterministic;
  return *this;
}

Communicator::~Communicator() { release(); }

void Communicator::release() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (m_handle != MPI_COMM_NULL && !finalized) MPI_Comm_free(&m_handle);
}

Communicator Communicator::split(int color, int key) const {
  const impl::InCollective entered(*this, "Communicator::split");
  MPI_Comm part = MPI_COMM_NULL;
  ELASTIC_CHECK_MPI(MPI_Comm_split(m_handle, color, key, &part));
  return Communicator(part, m_deterministic);
}

Communicator Communicator::split_by_node() const {
  const impl::InCollective entered(*this, "Communicator::split_by_node");
  MPI_Comm node = MPI_COMM_NULL;
  ELASTIC_CHECK_MPI(
      MPI_Comm_split_type(m_handle, MPI_COMM_TYPE_SHARED, m_rank, MPI_INFO_NULL, &node));
  return Communicator(node, m_deterministic);
}

}  // namespace elastic
