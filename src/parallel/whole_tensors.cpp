// SPDX-License-Identifier: Apache-2.0
// Rank 0 receives part after part and puts each in its place.
#include "parallel/whole_tensors.hpp"

#include <algorithm>

#include "comm/messages.hpp"

namespace elastic {

namespace {

void check(const ShardedMatrix& m) {
  ELASTIC_REQUIRE(m.row_unit >= 0 && (m.row_unit == 0 || m.rows % m.row_unit == 0) &&
                      m.column_unit >= 0 &&
                      (m.column_unit == 0 || m.columns % m.column_unit == 0) &&
                      (m.row_unit == 0 || m.column_unit == 0),
                  "[{}, {}] sharded in units of {} rows, {} columns", m.rows, m.columns, m.row_unit,
                  m.column_unit);
}

/// Calls body(position in the whole, position in the part, length) for every run of neighbours.
template <class Body>
void for_each_run(const ShardedMatrix& matrix, const Shard& shard, const Body& body) {
  const index_t rows = matrix.local_rows(shard), columns = matrix.local_columns(shard);
  const index_t run = matrix.column_unit > 0 ? matrix.column_unit : columns;
  for (index_t i = 0; i < rows; ++i)
    for (index_t j = 0; j < columns; j += run)
      body(global_index(i, matrix.row_unit, shard) * matrix.columns +
               global_index(j, matrix.column_unit, shard),
           i * columns + j, run);
}

template <class T>
void send_to_root(const Communicator& comm, const T* data, std::size_t count) {
  Messages messages(comm);
  messages.send(data, count * sizeof(T), 0);
  messages.wait();
}
template <class T>
void receive_from(const Communicator& comm, std::vector<T>& data, int rank) {
  Messages messages(comm);
  messages.receive(data.data(), data.size() * sizeof(T), rank);
  messages.wait();
}

template <class T>
using HostMatrix = Kokkos::View<T**, Kokkos::LayoutRight, HostSpace>;

}  // namespace

index_t ShardedMatrix::local_rows(const Shard& shard) const {
  return local_count(rows, row_unit, shard);
}
index_t ShardedMatrix::local_columns(const Shard& shard) const {
  return local_count(columns, column_unit, shard);
}

template <class T>
std::vector<T> gather_shards(const Communicator& comm, const ShardedMatrix& matrix, const T* mine) {
  check(matrix);
  const auto size_of = [&](const Shard& shard) {
    return static_cast<std::size_t>(matrix.local_rows(shard) * matrix.local_columns(shard));
  };
  if (!comm.is_root()) {
    if (matrix.sharded()) send_to_root(comm, mine, size_of({comm.rank(), comm.size()}));
    return {};
  }
  std::vector<T> whole(static_cast<std::size_t>(matrix.rows * matrix.columns));
  const int ranks = matrix.sharded() ? comm.size() : 1;
  std::vector<T> received;
  for (int r = 0; r < ranks; ++r) {
    const Shard shard{r, ranks};
    if (r > 0) {
      received.resize(size_of(shard));
      receive_from(comm, received, r);
    }
    const T* part = r > 0 ? received.data() : mine;
    for_each_run(matrix, shard, [&](index_t to, index_t from, index_t length) {
      std::copy_n(part + from, length, whole.data() + to);
    });
  }
  return whole;
}

template <class T>
std::vector<T> gather_shards(const Communicator& comm, const ShardedMatrix& matrix,
                             const std::type_identity_t<View2<const T>>& mine) {
  const Shard shard{comm.rank(), comm.size()};
  require_shape("gather_shards", "mine", mine, matrix.local_rows(shard),
                matrix.local_columns(shard));
  ELASTIC_REQUIRE(mine.span_is_contiguous(), "gather_shards: rows with gaps");
  const auto h_mine = Kokkos::create_mirror_view_and_copy(HostSpace(), mine);
  return gather_shards<T>(comm, matrix, h_mine.data());
}

template <class T>
std::vector<T> take_shard(const T* whole, const ShardedMatrix& matrix, const Shard& shard) {
  check(matrix);
  std::vector<T> part(
      static_cast<std::size_t>(matrix.local_rows(shard) * matrix.local_columns(shard)));
  for_each_run(matrix, shard, [&](index_t from, index_t to, index_t length) {
    std::copy_n(whole + from, length, part.data() + to);
  });
  return part;
}

template <class T>
void take_shard(const T* whole, const ShardedMatrix& matrix, const Shard& shard,
                const std::type_identity_t<View2<T>>& mine) {
  require_shape("take_shard", "mine", mine, matrix.local_rows(shard), matrix.local_columns(shard));
  ELASTIC_REQUIRE(mine.span_is_contiguous(), "take_shard: rows with gaps");
  const auto part = take_shard<T>(whole, matrix, shard);
  Kokkos::deep_copy(mine, HostMatrix<const T>(part.data(), mine.extent(0), mine.extent(1)));
}

template <class T>
std::vector<T> gather_ranges(const Communicator& comm, index_t count,
                             const std::vector<Range>& ranges, const T* mine) {
  const auto place = [](const std::vector<Range>& places, const T* part, std::vector<T>& whole) {
    for (const auto& range : places) {
      std::copy(part, part + (range.second - range.first), whole.data() + range.first);
      part += range.second - range.first;
    }
  };
  const auto size_of = [](const std::vector<Range>& places) {
    index_t size = 0;
    for (const auto& range : places) size += range.second - range.first;
    return static_cast<std::size_t>(size);
  };
  for (const auto& range : ranges)
    ELASTIC_REQUIRE(0 <= range.first && range.first <= range.second && range.second <= count,
                    "gather_ranges: [{}, {}) of {}", range.first, range.second, count);
  if (!comm.is_root()) {
    const std::vector<index_t> number{static_cast<index_t>(ranges.size())};
    send_to_root(comm, number.data(), 1);
    send_to_root(comm, ranges.data(), ranges.size());
    send_to_root(comm, mine, size_of(ranges));
    return {};
  }
  std::vector<T> whole(static_cast<std::size_t>(count));
  place(ranges, mine, whole);
  for (int r = 1; r < comm.size(); ++r) {
    std::vector<index_t> number(1);
    receive_from(comm, number, r);
    std::vector<Range> places(static_cast<std::size_t>(number[0]));
    receive_from(comm, places, r);
    std::vector<T> received(size_of(places));
    receive_from(comm, received, r);
    place(places, received.data(), whole);
  }
  return whole;
}

#define ELASTIC_INSTANTIATE(T)                                                                   \
  template std::vector<T> gather_shards<T>(const Communicator&, const ShardedMatrix&, const T*); \
  template std::vector<T> gather_shards<T>(const Communicator&, const ShardedMatrix&,            \
                                           const std::type_identity_t<View2<const T>>&);         \
  template std::vector<T> take_shard<T>(const T*, const ShardedMatrix&, const Shard&);           \
  template void take_shard<T>(const T*, const ShardedMatrix&, const Shard&,                      \
                              const std::type_identity_t<View2<T>>&);                            \
  template std::vector<T> gather_ranges<T>(const Communicator&, index_t,                         \
                                           const std::vector<Range>&, const T*);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
