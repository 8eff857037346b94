// SPDX-License-Identifier: Apache-2.0
// Messages between two ranks that travel while the program goes on.
//
//   Messages messages(comm);
//   messages.receive(from_left, bytes, left);
//   messages.send(to_right, bytes, right);
//   ... work that touches neither ...
//   messages.wait();
//
// Messages of one pair of ranks arrive in the order in which they were sent, over all objects on
// the same communicator.
#pragma once
#include <vector>

#include "comm/communicator.hpp"

namespace elastic {

inline constexpr int no_rank = -1;  ///< neighbour beyond the end: nothing is sent or received

class Messages {
 public:
  /// `comm` must outlive this object.
  explicit Messages(const Communicator& comm) : m_comm(&comm) {}

  /// Start a message. Memory must be visible to MPI and stay as it is (send) or alone (receive)
  /// until it is done. Both sides must state the same number of bytes, which may exceed 2^31;
  /// nothing is sent for zero. Throw RunError if MPI fails.
  void send(const void* data, std::size_t bytes, int to);
  void receive(void* data, std::size_t bytes, int from);

  /// True once all messages are done; lets MPI work on them.
  bool done();
  /// Until all are done.
  void wait();

 private:
  const Communicator* m_comm;
  std::vector<MPI_Request> m_requests;
};

}  // namespace elastic
