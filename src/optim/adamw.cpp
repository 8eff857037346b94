// SPDX-License-Identifier: Apache-2.0
// Groups the owned elements into segments of equal decay and calls the kernel on each.
#include "optim/adamw.hpp"

#include "kernels/update/adamw_step.hpp"
#include "optim/flat_slices.hpp"
#include "parallel/whole_tensors.hpp"

namespace elastic {

template <class T>
AdamW<T>::AdamW(const ParameterStore<T>& parameters)
    : AdamW(parameters, {Range(0, parameters.num_elements())}) {}

template <class T>
AdamW<T>::AdamW(const ParameterStore<T>& parameters, const std::vector<Range>& owned)
    : m_parameters(parameters),
      m_owned(owned),
      m_first("elastic::adamw_first_moments", total_length(owned)),
      m_second("elastic::adamw_second_moments", total_length(owned)) {
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
    const bool joins = !m_segments.empty() && m_segments.back().end == begin &&
                       m_segments.back().weight_decay == p.info.weight_decay;
    if (joins)
      m_segments.back().end = end;
    else
      m_segments.push_back({begin, end, moment_begin, p.info.weight_decay});
    moment_begin += end - begin;
  });
}

template <class T>
void AdamW<T>::step(const ExecutionSpace& exec, const AdamWConfig& config, double learning_rate,
                    index_t step_number, double grad_scale) {
  ELASTIC_REQUIRE(step_number >= 1, "steps count from 1, got {}", step_number);
  for (const auto& segment : m_segments) {
    const auto part = [&](const auto& flat, index_t begin) {
      return Kokkos::subview(flat, Range(begin, begin + segment.end - segment.begin));
    };
    const kernels::AdamWParams params = {
        .learning_rate = learning_rate,
        .beta1 = config.beta1,
        .beta2 = config.beta2,
        .epsilon = config.epsilon,
        .weight_decay = segment.weight_decay ? config.weight_decay : 0,
        .step = step_number,
        .grad_scale = grad_scale};
    kernels::adamw_step<T>(exec, part(m_parameters.gradients(), segment.begin), params,
                           part(m_parameters.values(), segment.begin),
                           part(m_first, segment.moment_begin),
                           part(m_second, segment.moment_begin));
  }
}

template <class T>
const Parameter<T>& AdamW<T>::tensor(const std::string& name) const {
  const Parameter<T>* p = m_parameters.find(name);
  ELASTIC_REQUIRE(p != nullptr, "no parameter {}", name);
  return *p;
}

template <class T>
auto AdamW<T>::pieces_of(const Parameter<T>& parameter) const -> std::vector<Piece> {
  const index_t tensor_begin = parameter.offset, tensor_end = tensor_begin + parameter.size();
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
std::vector<Accumulate<T>> AdamW<T>::gather_moment(const Communicator& comm, Moment which,
                                                   const std::string& name) const {
  const auto& p = tensor(name);
  std::vector<Range> ranges;
  std::vector<Accumulate<T>> mine;
  for (const auto& piece : pieces_of(p)) {
    const index_t length = piece.end - piece.begin;
    ranges.emplace_back(piece.begin - p.offset, piece.end - p.offset);
    mine.resize(mine.size() + static_cast<std::size_t>(length));
    Kokkos::deep_copy(
        HostView1<Accumulate<T>>(mine.data() + mine.size() - length, length),
        Kokkos::subview(moments(which), Range(piece.moment_begin, piece.moment_begin + length)));
  }
  return gather_ranges<Accumulate<T>>(comm, p.size(), ranges, mine.data());
}

template <class T>
void AdamW<T>::set_moment(Moment which, const std::string& name,
                          const Accumulate<T>* values) const {
  const auto& p = tensor(name);
  for (const auto& piece : pieces_of(p)) {
    const index_t length = piece.end - piece.begin;
    Kokkos::deep_copy(
        Kokkos::subview(moments(which), Range(piece.moment_begin, piece.moment_begin + length)),
        HostView1<const Accumulate<T>>(values + (piece.begin - p.offset), length));
  }
}

template class AdamW<float>;
template class AdamW<double>;

}  // namespace elastic
