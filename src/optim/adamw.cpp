// SPDX-License-Identifier: Apache-2.0
// Groups the owned elements into segments of equal treatment and calls the kernel on each.
#include "optim/adamw.hpp"

#include "base/huge_pages.hpp"
#include "kernels/rows/convert.hpp"
#include "kernels/update/adamw_step.hpp"
#include "optim/flat_slices.hpp"
#include "parallel/whole_tensors.hpp"

namespace elastic {
namespace {

template <class T>
View1<T> run_of(const View1<T>& flat, index_t begin, index_t length) {
  return Kokkos::subview(flat, Range(begin, begin + length));
}

template <class T>
View2<T> as_row(const View1<T>& vector) {
  return View2<T>(vector.data(), 1, vector.extent(0));
}

}  // namespace

template <class T>
AdamW<T>::AdamW(const ParameterStore<T>& parameters)
    : AdamW(parameters, {Range(0, parameters.num_elements())}) {}

template <class T>
AdamW<T>::AdamW(const ParameterStore<T>& parameters, const std::vector<Range>& owned)
    : m_parameters(parameters),
      m_owned(owned),
      m_first(
          zeros_in_huge_pages<Accumulate<T>>("elastic::adamw_first_moments", total_length(owned))),
      m_second(
          zeros_in_huge_pages<Accumulate<T>>("elastic::adamw_second_moments", total_length(owned))),
      m_masters(zeros_in_huge_pages<Accumulate<T>>("elastic::adamw_masters",
                                                   has_masters<T> ? total_length(owned) : 0)) {
  require_shape("AdamW", "values", parameters.values(), parameters.num_elements());
  require_shape("AdamW", "gradients", parameters.gradients(), parameters.num_elements());
  index_t end_before = 0;
  for (const auto& range : owned) {
    ELASTIC_REQUIRE(end_before <= range.first && range.first <= range.second &&
                        range.second <= parameters.num_elements(),
                    "owned range [{}, {}) of {} elements", range.first, range.second,
                    parameters.num_elements());
    end_before = range.second;
  }
  index_t moment_begin = 0;
  for_each_piece(parameters, owned, [&](const Parameter<T>& p, index_t begin, index_t end) {
    const bool exact = has_exact_values<T> && p.info.exact;
    const bool joins = !m_segments.empty() && m_segments.back().end == begin &&
                       m_segments.back().weight_decay == p.info.weight_decay &&
                       m_segments.back().exact == exact;
    if (joins)
      m_segments.back().end = end;
    else
      m_segments.push_back({begin, end, moment_begin, p.exact_offset + begin - p.offset,
                            p.info.weight_decay, exact});
    moment_begin += end - begin;
  });
  restart_masters();
}

template <class T>
void AdamW<T>::restart_masters() const {
  if constexpr (has_masters<T>) {
    const ExecutionSpace exec;
    for (const auto& segment : m_segments) {
      const index_t length = segment.end - segment.begin;
      const auto masters = run_of(m_masters, segment.moment_begin, length);
      if (segment.exact)
        Kokkos::deep_copy(exec, masters,
                          run_of(m_parameters.exact_values(), segment.exact_begin, length));
      else
        kernels::convert<Accumulate<T>, T>(
            exec, as_row(run_of(m_parameters.values(), segment.begin, length)), as_row(masters));
    }
    fence(exec, "elastic::restart_masters");
  }
}

template <class T>
void AdamW<T>::step(const ExecutionSpace& exec, const AdamWConfig& config, double learning_rate,
                    index_t step_number, double grad_scale) {
  ELASTIC_REQUIRE(step_number >= 1, "steps count from 1, got {}", step_number);
  for (const auto& segment : m_segments) {
    const auto part = [&](const auto& flat, index_t begin) {
      return run_of(flat, begin, segment.end - segment.begin);
    };
    const kernels::AdamWParams params = {
        .learning_rate = learning_rate,
        .beta1 = config.beta1,
        .beta2 = config.beta2,
        .epsilon = config.epsilon,
        .weight_decay = segment.weight_decay ? config.weight_decay : 0,
        .step = step_number,
        .grad_scale = grad_scale};
    const auto gradient = part(m_parameters.gradients(), segment.begin);
    const auto first = part(m_first, segment.moment_begin);
    const auto second = part(m_second, segment.moment_begin);
    if constexpr (!has_masters<T>) {
      kernels::adamw_step<T>(exec, gradient, params, part(m_parameters.values(), segment.begin),
                             first, second);
    } else {
      const auto masters = part(m_masters, segment.moment_begin);
      if (segment.exact) {
        kernels::adamw_step<Accumulate<T>>(exec, gradient, params, masters, first, second);
        Kokkos::deep_copy(exec, part(m_parameters.exact_values(), segment.exact_begin), masters);
      } else {
        kernels::adamw_step_rounded<T>(exec, gradient, params, masters, first, second,
                                       part(m_parameters.values(), segment.begin));
      }
    }
  }
}

template <class T>
const Parameter<T>& AdamW<T>::tensor(const std::string& name) const {
  const Parameter<T>* p = m_parameters.find(name);
  ELASTIC_REQUIRE(p != nullptr, "no parameter {}", name);
  return *p;
}

template <class T>
auto AdamW<T>::pieces_of(const Parameter<T>& parameter, Range elements) const
    -> std::vector<Piece> {
  const index_t tensor_begin = parameter.offset + elements.first,
                tensor_end = parameter.offset + elements.second;
  std::vector<Piece> pieces;
  index_t moment_begin = 0;
  for (const auto& range : m_owned) {
    const index_t begin = std::max(range.first, tensor_begin),
                  end = std::min(range.second, tensor_end);
    if (begin < end) pieces.push_back({begin, end, moment_begin + begin - range.first});
    moment_begin += range.second - range.first;
  }
  return pieces;
}

template <class T>
View2<Accumulate<T>> AdamW<T>::moment(Moment which, const std::string& name) const {
  const auto& p = tensor(name);
  if (p.size() == 0) return View2<Accumulate<T>>(nullptr, p.rows, p.columns);
  const auto pieces = pieces_of(p);
  ELASTIC_REQUIRE(pieces.size() == 1 && pieces[0].end - pieces[0].begin == p.size(),
                  "parameter {} is not owned as a whole", name);
  return View2<Accumulate<T>>(moments(which).data() + pieces[0].moment_begin, p.rows, p.columns);
}

template <class T>
std::vector<Accumulate<T>> AdamW<T>::gather(const Communicator& comm,
                                            const View1<Accumulate<T>>& flat,
                                            const Parameter<T>& parameter) const {
  std::vector<Range> ranges;
  std::vector<Accumulate<T>> mine;
  for (const auto& piece : pieces_of(parameter)) {
    const index_t length = piece.end - piece.begin;
    ranges.emplace_back(piece.begin - parameter.offset, piece.end - parameter.offset);
    mine.resize(mine.size() + static_cast<std::size_t>(length));
    Kokkos::deep_copy(HostView1<Accumulate<T>>(mine.data() + mine.size() - length, length),
                      run_of(flat, piece.moment_begin, length));
  }
  return gather_ranges<Accumulate<T>>(comm, parameter.size(), ranges, mine.data());
}

template <class T>
void AdamW<T>::to_host(const View1<Accumulate<T>>& flat, const Parameter<T>& parameter,
                       Range elements, Accumulate<T>* out) const {
  const index_t first = parameter.offset + elements.first;
  for (const auto& piece : pieces_of(parameter, elements)) {
    const index_t length = piece.end - piece.begin;
    Kokkos::deep_copy(HostView1<Accumulate<T>>(out + (piece.begin - first), length),
                      run_of(flat, piece.moment_begin, length));
  }
}

template <class T>
void AdamW<T>::from_host(const View1<Accumulate<T>>& flat, const Parameter<T>& parameter,
                         Range elements, const Accumulate<T>* values) const {
  const index_t first = parameter.offset + elements.first;
  for (const auto& piece : pieces_of(parameter, elements)) {
    const index_t length = piece.end - piece.begin;
    Kokkos::deep_copy(run_of(flat, piece.moment_begin, length),
                      HostView1<const Accumulate<T>>(values + (piece.begin - first), length));
  }
}

template <class T>
std::vector<Accumulate<T>> AdamW<T>::gather_moment(const Communicator& comm, Moment which,
                                                   const std::string& name) const {
  return gather(comm, moments(which), tensor(name));
}

template <class T>
void AdamW<T>::set_moment(Moment which, const std::string& name,
                          const Accumulate<T>* values) const {
  const auto& p = tensor(name);
  from_host(moments(which), p, {0, p.size()}, values);
}

template <class T>
std::vector<Accumulate<T>> AdamW<T>::gather_masters(const Communicator& comm,
                                                    const std::string& name) const {
  const auto& p = tensor(name);
  if constexpr (has_masters<T>) return gather(comm, m_masters, p);
  // Every rank has all values.
  if (!comm.is_root()) return {};
  return values_to_host(p);
}

template <class T>
void AdamW<T>::set_masters(const std::string& name, const Accumulate<T>* values) const {
  const auto& p = tensor(name);
  masters_from_host(p, {0, p.size()}, values);
  set_values(p, values);
}

template class AdamW<bfloat16>;
template class AdamW<float>;
template class AdamW<double>;

}  // namespace elastic
