// SPDX-License-Identifier: Apache-2.0
#include "optim/gradient_buckets.hpp"

#include <algorithm>
#include <iterator>

#include "comm/split_collectives.hpp"
#include "comm/tree_sum.hpp"

namespace elastic {

namespace {

template <class T>
bool staged() {
  return !impl::on_host<View1<T>> && !mpi_is_device_aware();
}
/// The longest slice of a bucket: where the next one begins among the arrivals.
index_t stride_of(const FlatSlices& slices, index_t k) {
  const Range bucket = slices.bucket(k);
  return (bucket.second - bucket.first + slices.ranks() - 1) / slices.ranks();
}
template <class T>
HostView1<T> host_vector(index_t count) {
  return HostView1<T>(Kokkos::view_alloc("elastic::gradient_buckets", Kokkos::WithoutInitializing),
                      count);
}

}  // namespace

template <class T>
GradientBuckets<T>::GradientBuckets(const Communicator& comm, const FlatSlices& slices,
                                    const View1<T>& flat, int most_in_flight)
    : m_comm(comm.split(0)),
      m_slices(slices),
      m_flat(flat),
      m_most_in_flight(static_cast<std::size_t>(most_in_flight)),
      m_complete_from(slices.count()) {
  require_shape("GradientBuckets", "flat", flat, slices.count());
  ELASTIC_REQUIRE(slices.ranks() == comm.size(), "slices for {} ranks, there are {}",
                  slices.ranks(), comm.size());
  ELASTIC_REQUIRE(most_in_flight >= 1, "most_in_flight is {}", most_in_flight);
}

template <class T>
index_t GradientBuckets<T>::scratch_elements(const FlatSlices& slices, int most_in_flight) {
  if (slices.ranks() == 1 || slices.count() == 0) return 0;
  return std::min<index_t>(most_in_flight, slices.num_buckets()) * slices.ranks() *
         stride_of(slices, 0);
}

template <class T>
void GradientBuckets<T>::complete_from(index_t offset) {
  if (m_comm.size() == 1) return;
  m_complete_from = offset;
  progress();
}

template <class T>
void GradientBuckets<T>::start_what_may_travel() {
  const auto may_travel = [&] {
    return m_travelling.size() < m_most_in_flight && m_next < m_slices.num_buckets() &&
           m_slices.bucket(m_next).first >= m_complete_from;
  };
  if (!may_travel()) return;
  Kokkos::fence();
  while (may_travel()) start(m_next++);
}

template <class T>
void GradientBuckets<T>::start(index_t k) {
  const int ranks = m_comm.size(), me = m_comm.rank();
  const Range bucket = m_slices.bucket(k), mine = m_slices.slice(k, me);
  const index_t stride = stride_of(m_slices, k), length = mine.second - mine.first;
  Travelling travelling{k, Messages(m_comm), {}, {}, {}};
  if (m_free.empty()) {
    travelling.arrivals =
        View1<T>(Kokkos::view_alloc("elastic::gradient_buckets", Kokkos::WithoutInitializing),
                 ranks * stride_of(m_slices, 0));
  } else {
    travelling.arrivals = m_free.back();
    m_free.pop_back();
  }
  Kokkos::deep_copy(Kokkos::subview(travelling.arrivals, Range(me * stride, me * stride + length)),
                    Kokkos::subview(m_flat, mine));
  const T* sent = m_flat.data() + bucket.first;
  T* arrivals = travelling.arrivals.data();
  if (staged<T>()) {
    travelling.h_sent = host_vector<T>(bucket.second - bucket.first);
    travelling.h_arrivals = host_vector<T>(ranks * stride);
    Kokkos::deep_copy(travelling.h_sent, Kokkos::subview(m_flat, bucket));
    sent = travelling.h_sent.data();
    arrivals = travelling.h_arrivals.data();
  }
  for (int i = 1; i < ranks; ++i) {  // everybody starts with another partner
    const int from = (me - i + ranks) % ranks, to = (me + i) % ranks;
    const Range theirs = m_slices.slice(k, to);
    travelling.messages.receive(arrivals + from * stride, length * sizeof(T), from);
    travelling.messages.send(sent + (theirs.first - bucket.first),
                             (theirs.second - theirs.first) * sizeof(T), to);
  }
  m_travelling.push_back(std::move(travelling));
}

/// All parts of this rank's slice are here.
template <class T>
void GradientBuckets<T>::add(Travelling& travelling) {
  const ExecutionSpace exec;
  const int ranks = m_comm.size(), me = m_comm.rank();
  const Range mine = m_slices.slice(travelling.bucket, me);
  const index_t stride = stride_of(m_slices, travelling.bucket), length = mine.second - mine.first;
  if (staged<T>())
    for (int r = 0; r < ranks; ++r) {
      const Range part(r * stride, r * stride + (r == me ? 0 : length));
      Kokkos::deep_copy(Kokkos::subview(travelling.arrivals, part),
                        Kokkos::subview(travelling.h_arrivals, part));
    }
  tree_sum(exec, travelling.arrivals.data(), ranks, stride, length);
  Kokkos::deep_copy(exec, Kokkos::subview(m_flat, mine), prefix(travelling.arrivals, length));
  fence(exec, "elastic::gradient_buckets");
  m_free.push_back(travelling.arrivals);
}

template <class T>
void GradientBuckets<T>::progress() {
  for (auto travelling = m_travelling.begin(); travelling != m_travelling.end();)
    if (travelling->messages.done()) {
      add(*travelling);
      travelling = m_travelling.erase(travelling);
    } else {
      ++travelling;
    }
  start_what_may_travel();
}

template <class T>
void GradientBuckets<T>::finish() {
  complete_from(0);
  while (!m_travelling.empty()) {
    m_travelling.front().messages.wait();
    add(m_travelling.front());
    m_travelling.pop_front();
    start_what_may_travel();
  }
  m_next = 0;
  m_complete_from = m_slices.count();
}

template <class T>
void gather_slices(const Communicator& comm, const FlatSlices& slices, const View1<T>& flat) {
  require_shape("gather_slices", "flat", flat, slices.count());
  for (index_t k = 0; k < slices.num_buckets(); ++k)
    all_gather_in_place<T>(comm, slices.offsets(k), Kokkos::subview(flat, slices.bucket(k)));
}

namespace {
/// How many elements of exact tensors come before a place of the flat buffers.
template <class T>
index_t exact_before(const ParameterStore<T>& store, index_t place) {
  const auto next = std::upper_bound(store.begin(), store.end(), place,
                                     [](index_t x, const Parameter<T>& p) { return x < p.offset; });
  if (next == store.begin()) return 0;
  const Parameter<T>& p = *std::prev(next);
  return p.exact_offset + (p.info.exact ? std::min(place - p.offset, p.size()) : 0);
}
}  // namespace

template <class T>
void gather_values(const Communicator& comm, const FlatSlices& slices,
                   const ParameterStore<T>& store) {
  gather_slices<T>(comm, slices, store.values());
  if constexpr (has_exact_values<T>)
    for (index_t k = 0; k < slices.num_buckets(); ++k) {
      // The exact elements of a rank's slice are neighbours, as the slice's elements are.
      const index_t bucket = slices.bucket(k).first, begin = exact_before(store, bucket);
      auto offsets = slices.offsets(k);
      for (auto& offset : offsets) offset = exact_before(store, bucket + offset) - begin;
      if (offsets.back() > 0)
        all_gather_in_place<Accumulate<T>>(
            comm, offsets,
            Kokkos::subview(store.exact_values(), Range(begin, begin + offsets.back())));
    }
}

template class GradientBuckets<float>;
template class GradientBuckets<double>;
template class GradientBuckets<index_t>;

#define ELASTIC_INSTANTIATE(T)                                                             \
  template void gather_slices<T>(const Communicator&, const FlatSlices&, const View1<T>&); \
  template void gather_values<T>(const Communicator&, const FlatSlices&, const ParameterStore<T>&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
