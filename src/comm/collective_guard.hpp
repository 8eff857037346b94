// SPDX-License-Identifier: Apache-2.0
// Around every collective: the rank shows that it waits for others (base/life_sign.hpp), and none
// is entered where a rank may leave alone with an error (comm/all_ranks_agree.hpp). Internal
// to comm.
#pragma once
#include "comm/communicator.hpp"

namespace elastic::impl {

class InCollective {
 public:
  /// Throws ContractError within the work of all_ranks_agree, if both are over several ranks.
  InCollective(const Communicator& comm, const char* name);
  ~InCollective();
  InCollective(const InCollective&) = delete;
  InCollective& operator=(const InCollective&) = delete;
};

/// While the work of all_ranks_agree goes on.
class NoCollectives {
 public:
  explicit NoCollectives(const Communicator& comm);
  ~NoCollectives();
  NoCollectives(const NoCollectives&) = delete;
  NoCollectives& operator=(const NoCollectives&) = delete;

 private:
  bool m_counts;
};

}  // namespace elastic::impl
