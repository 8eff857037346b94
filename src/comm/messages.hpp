// SPDX-License-Identifier: Apache-2.0
// Messages between two ranks that travel while the program goes on.
//
//   Messages messages(comm);
//   messages.receive(from_left, bytes, left);
//   messages.send(to_right, bytes, right);
//   ... work that touches neither ...
//   messages.wait();
//
// Messages between two ranks arrive in the order in which they were sent,
// over all objects on one communicator.
#pragma once
#include <vector>

#include "comm/communicator.hpp"

namespace elastic {

inline constexpr int no_rank = -1;  ///< neighbour beyond the end: nothing is sent or received

class Messages {
 public:
  /// `comm` must outlive this object.
  explicit Messages(const Communicator& comm) : m_comm(&comm) {}

  /// Start a message. Memory must be visible to MPI; until the message is done, nobody may change
  /// it (send) or touch it (receive). Both sides state an equal number of bytes, which may exceed
  /// 2^31; nothing is sent for zero. Throw RunError if MPI fails.
  void send(const void* data, std::size_t bytes, int to);
  void receive(void* data, std::size_t bytes, int from);

  /// True once all messages are done; lets MPI work on them.
  bool done();
  /// Waits until all messages are done.
  void wait();

 private:
  const Communicator* m_comm;
  std::vector<MPI_Request> m_requests;
};

}  // namespace elastic
