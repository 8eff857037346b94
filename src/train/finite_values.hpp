// SPDX-License-Identifier: Apache-2.0
// Whether numbers of a model are finite, and if not, in which tensor.
#pragma once
#include <string>
#include <vector>

#include "base/arena.hpp"
#include "base/parameter.hpp"
#include "comm/communicator.hpp"

namespace elastic {

/// Whether all values in the ranges `owned` of the flat buffer, and all exact values, are finite:
/// one pass on the device, for after every update. Waits for exec.
template <class T>
bool values_are_finite(const ExecutionSpace& exec, Arena& arena, const ParameterStore<T>& store,
                       const std::vector<Range>& owned);

/// Collective: the name of the first tensor with a number that is not finite on any rank; empty if
/// there is none. Tensor by tensor on the host, to be called once something is known to be wrong.
template <class T>
std::string first_bad_value(const Communicator& world, const ParameterStore<T>& store);
template <class T>
std::string first_bad_gradient(const Communicator& world, const ParameterStore<T>& store);

}  // namespace elastic
