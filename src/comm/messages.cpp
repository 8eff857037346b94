// SPDX-License-Identifier: Apache-2.0
// Non-blocking point-to-point messages; long ones are cut into pieces that fit MPI's int.
#include "comm/messages.hpp"

#include <algorithm>

#include "comm/collective_guard.hpp"
#include "comm/mpi_environment.hpp"

namespace elastic {

namespace {

constexpr int tag = 4;

/// start(pointer, bytes, request) for every piece of a message.
template <class Pointer, class Start>
void for_each_piece(Pointer data, std::size_t bytes, std::vector<MPI_Request>& requests,
                    const Start& start) {
  constexpr std::size_t largest = std::size_t(1) << 30;
  for (std::size_t begin = 0; begin < bytes; begin += largest)
    start(data + begin, static_cast<int>(std::min(largest, bytes - begin)),
          &requests.emplace_back(MPI_REQUEST_NULL));
}

}  // namespace

void Messages::send(const void* data, std::size_t bytes, int to) {
  if (to == no_rank) return;
  for_each_piece(
      static_cast<const char*>(data), bytes, m_requests,
      [&](const char* piece, int count, MPI_Request* request) {
        ELASTIC_CHECK_MPI(MPI_Isend(piece, count, MPI_BYTE, to, tag, m_comm->handle(), request));
      });
}

void Messages::receive(void* data, std::size_t bytes, int from) {
  if (from == no_rank) return;
  for_each_piece(
      static_cast<char*>(data), bytes, m_requests,
      [&](char* piece, int count, MPI_Request* request) {
        ELASTIC_CHECK_MPI(MPI_Irecv(piece, count, MPI_BYTE, from, tag, m_comm->handle(), request));
      });
}

bool Messages::done() {
  int all = 0;
  ELASTIC_CHECK_MPI(MPI_Testall(static_cast<int>(m_requests.size()), m_requests.data(), &all,
                                MPI_STATUSES_IGNORE));
  if (all != 0) m_requests.clear();
  return all != 0;
}

void Messages::wait() {
  const impl::InCollective entered(*m_comm, "Messages::wait");
  ELASTIC_CHECK_MPI(
      MPI_Waitall(static_cast<int>(m_requests.size()), m_requests.data(), MPI_STATUSES_IGNORE));
  m_requests.clear();
}

}  // namespace elastic
