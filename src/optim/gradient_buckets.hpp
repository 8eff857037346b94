// SPDX-License-Identifier: Apache-2.0
// The sum of gradients over ranks while the backward pass goes on.
// Every rank gets its slices of it.
//
//   GradientBuckets<float> buckets(data, slices, store.gradients());   // once
//   for (layers, last first) {
//     backward(layer);
//     buckets.complete_from(offset of the layer);
//   }
//   buckets.finish();
//   optimizer.step(...);                            // on the slices of this rank
//   gather_values(data, slices, store);
#pragma once
#include <deque>

#include "comm/messages.hpp"
#include "optim/flat_slices.hpp"

namespace elastic {

/// Every rank sends each other rank its slice of a bucket and adds what arrives in the order
/// of comm/tree_sum.hpp. That is the traffic of a ring, and gives the same bits as a deterministic
/// all_reduce_sum in whatever order messages arrive.
/// T = float, double or index_t (gradients in fixed point).
///
/// All ranks use equal slices and call finish() once a step, also a rank whose own work failed:
/// the others wait for its part. After that they can agree on the failure.
template <class T>
class GradientBuckets {
 public:
  /// Collective: messages travel on a communicator of their own. `flat` is shared, not copied. At
  /// most `most_in_flight` buckets travel at a time, which bounds the memory (scratch_elements).
  GradientBuckets(const Communicator& comm, const FlatSlices& slices, const View1<T>& flat,
                  int most_in_flight = 4);

  /// States that elements from `offset` on are complete and will not be read or written before
  /// finish(), and sends the buckets in there as far as they may travel. Does not wait for other
  /// ranks; waits for running kernels if there is something to send.
  void complete_from(index_t offset);
  /// Lets MPI work, adds what has arrived and sends what may travel; to be called now and then.
  void progress();
  /// Sends the rest and waits for everything. The slices of this rank then hold the sums over
  /// ranks; other elements are as they were.
  void finish();

  /// Numbers of type T that travelling buckets need beside `flat`, at most.
  static index_t scratch_elements(const FlatSlices& slices, int most_in_flight = 4);

 private:
  struct Travelling {
    index_t bucket;
    Messages messages;
    View1<T> arrivals;                // [ranks, longest slice]
    HostView1<T> h_sent, h_arrivals;  // where MPI cannot reach the device
  };
  void start_what_may_travel();
  void start(index_t bucket);
  void add(Travelling& travelling);

  Communicator m_comm;
  FlatSlices m_slices;
  View1<T> m_flat;
  std::size_t m_most_in_flight;
  index_t m_next = 0;       // bucket to be sent next
  index_t m_complete_from;  // elements from here on are complete
  std::deque<Travelling> m_travelling;
  std::vector<View1<T>> m_free;  // arrivals of buckets that are done
};

/// Collective. Sends every slice of `flat` from its owner to all ranks.
template <class T>
void gather_slices(const Communicator& comm, const FlatSlices& slices, const View1<T>& flat);
/// Collective. Sends all values from their owners to all ranks: in T, those of exact tensors
/// in Accumulate<T>.
template <class T>
void gather_values(const Communicator& comm, const FlatSlices& slices,
                   const ParameterStore<T>& store);

}  // namespace elastic
