// SPDX-License-Identifier: Apache-2.0
#include "state/state_tensors.hpp"

#include <algorithm>

#include "optim/flat_slices.hpp"

namespace elastic {

namespace {

using OnPiece = HeldTensor::OnPiece;

/// Who owns the optimizer's state of a store on every tensor-parallel rank.
class Ownership {
 public:
  template <class T>
  Ownership(const ParameterStore<T>& store, const Sharers& sharers) {
    // A store that every rank has as a whole (the router's) is cut alike on all.
    const bool whole = store.shard().size == 1;
    for (int t = 0; t < sharers.tensor_ranks; ++t) {
      const Shard shard = whole ? Shard{} : Shard{t, sharers.tensor_ranks};
      auto& offsets = m_offsets.emplace_back();
      index_t count = 0;
      for (const auto& p : store) {
        const auto matrix = ShardedMatrix::of(p.info);
        offsets.push_back(count);
        count += matrix.local_rows(shard) * matrix.local_columns(shard);
      }
      m_slices.push_back(optimizer_slices(count, sharers.replicas));
    }
  }
  /// Calls the body for the pieces of elements of a tensor's part on a tensor-parallel rank.
  void pieces(std::size_t tensor, int tensor_rank, Range elements, const OnPiece& body) const {
    const auto t = static_cast<std::size_t>(tensor_rank);
    const index_t offset = m_offsets[t][tensor];
    m_slices[t].for_each_owner({offset + elements.first, offset + elements.second},
                               [&](int replica, index_t begin, index_t end) {
                                 body(replica, {begin - offset, end - offset});
                               });
  }

 private:
  std::vector<FlatSlices> m_slices;
  std::vector<std::vector<index_t>> m_offsets;
};

StateTensor describe(const std::string& prefix, const ParameterInfo& info, const Shard& shard,
                     StorageType type) {
  StateTensor tensor;
  tensor.shard = shard;
  tensor.name = prefix + info.name;
  const std::string columns = dim_name(info.column_dim);
  tensor.extents =
      info.vector ? Extents::vector(info.columns) : Extents::matrix(info.rows, info.columns);
  tensor.axes = info.vector ? columns : fmt::format("{} {}", dim_name(info.row_dim), columns);
  tensor.type = type;
  // A vector is a column in files.
  const bool parts = shard.size > 1;
  if (info.vector)
    tensor.held.matrix = {info.columns, 1, parts ? info.column_unit : 0, 0};
  else
    tensor.held.matrix = {info.rows, info.columns, parts ? info.row_unit : 0,
                          parts ? info.column_unit : 0};
  tensor.held.element_bytes = size_of(type);
  return tensor;
}

template <class Value>
View1<Value> run_of(const View2<Value>& view, Range elements) {
  return View1<Value>(view.data() + elements.first, elements.second - elements.first);
}

/// Copies elements of a View without gaps to the host, and from it.
template <class Value>
void to_host(const View2<Value>& view, Range elements, char* out) {
  Kokkos::deep_copy(
      HostView1<Value>(reinterpret_cast<Value*>(out), elements.second - elements.first),
      run_of(view, elements));
}
template <class Value>
void from_host(const View2<Value>& view, Range elements, const Value* values) {
  Kokkos::deep_copy(run_of(view, elements),
                    HostView1<const Value>(values, elements.second - elements.first));
}

/// Rounds numbers from the host into values.
template <class T>
void round_into_values(const Parameter<T>& parameter, Range elements,
                       const Accumulate<T>* numbers) {
  with_values(parameter, [&](const auto& view) {
    using Value = typename std::decay_t<decltype(view)>::value_type;
    std::vector<Value> values(static_cast<std::size_t>(elements.second - elements.first));
    std::transform(numbers, numbers + values.size(), values.begin(),
                   [](Accumulate<T> x) { return static_cast<Value>(x); });
    from_host(view, elements, values.data());
  });
}

/// Adds owners to tensors that are listed in the order of their store.
template <class T>
void add_owners(const ParameterStore<T>& store, const Sharers& sharers, StateTensors& tensors) {
  if (sharers.replicas == 1) return;
  const auto ownership = std::make_shared<const Ownership>(store, sharers);
  for (std::size_t i = 0; i < tensors.size(); ++i)
    tensors[i].held.owners = [ownership, i](int tensor_rank, Range elements, const OnPiece& body) {
      ownership->pieces(i, tensor_rank, elements, body);
    };
}

}  // namespace

template <class T>
StateTensors value_tensors(const std::string& prefix, const ParameterStore<T>& store) {
  StateTensors tensors;
  for (const auto& p : store)
    with_values(p, [&](const auto& view) {
      using Value = typename std::decay_t<decltype(view)>::value_type;
      auto& tensor =
          tensors.emplace_back(describe(prefix, p.info, store.shard(), storage_type_of<Value>()));
      tensor.fetch = [view](Range elements, char* out) { to_host(view, elements, out); };
      tensor.store = [view](Range elements, const char* data) {
        from_host(view, elements, reinterpret_cast<const Value*>(data));
      };
    });
  return tensors;
}

template <class T>
StateTensors master_tensors(const std::string& prefix, const ParameterStore<T>& store,
                            const AdamW<T>& optimizer, const Sharers& sharers) {
  if (!has_masters<T>) return value_tensors(prefix, store);
  StateTensors tensors;
  for (const auto& p : store) {
    auto& tensor = tensors.emplace_back(
        describe(prefix, p.info, store.shard(), storage_type_of<Accumulate<T>>()));
    tensor.fetch = [&p, &optimizer](Range elements, char* out) {
      optimizer.masters_to_host(p, elements, reinterpret_cast<Accumulate<T>*>(out));
    };
    tensor.store = [&p, &optimizer](Range elements, const char* data) {
      const auto* numbers = reinterpret_cast<const Accumulate<T>*>(data);
      optimizer.masters_from_host(p, elements, numbers);
      round_into_values(p, elements, numbers);
    };
    tensor.stored_by_all = true;
  }
  add_owners(store, sharers, tensors);
  return tensors;
}

template <class T>
StateTensors moment_tensors(const std::string& prefix, const ParameterStore<T>& store,
                            const AdamW<T>& optimizer, const Sharers& sharers) {
  StateTensors all;
  for (const auto& [which, name] : {std::pair{Moment::first, "m/"}, {Moment::second, "v/"}}) {
    StateTensors tensors;
    for (const auto& p : store) {
      auto& tensor = tensors.emplace_back(
          describe(prefix + name, p.info, store.shard(), storage_type_of<Accumulate<T>>()));
      tensor.fetch = [&p, &optimizer, which = which](Range elements, char* out) {
        optimizer.moment_to_host(which, p, elements, reinterpret_cast<Accumulate<T>*>(out));
      };
      tensor.store = [&p, &optimizer, which = which](Range elements, const char* data) {
        optimizer.moment_from_host(which, p, elements,
                                   reinterpret_cast<const Accumulate<T>*>(data));
      };
    }
    add_owners(store, sharers, tensors);
    std::move(tensors.begin(), tensors.end(), std::back_inserter(all));
  }
  return all;
}

#define ELASTIC_INSTANTIATE(T)                                                          \
  template StateTensors value_tensors<T>(const std::string&, const ParameterStore<T>&); \
  template StateTensors master_tensors<T>(const std::string&, const ParameterStore<T>&, \
                                          const AdamW<T>&, const Sharers&);             \
  template StateTensors moment_tensors<T>(const std::string&, const ParameterStore<T>&, \
                                          const AdamW<T>&, const Sharers&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
