// SPDX-License-Identifier: Apache-2.0
// Preconditions of kernels: what does not fit is refused, and the message says what.
//
//   EXPECT_TRUE(refuses([&] { residual_add_forward<T>(exec, y, mask, 1, h); }, "mask is [7]"));
#pragma once
#include <gtest/gtest.h>

#include <string>

#include "base/error.hpp"

namespace elastic::test {

/// Succeeds if call() throws a ContractError whose message contains `text`.
template <class F>
testing::AssertionResult refuses(const F& call, const std::string& text) {
  try {
    call();
  } catch (const ContractError& error) {
    const std::string message = error.what();
    if (message.find(text) != std::string::npos) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "\"" << message << "\" does not say \"" << text << "\"";
  }
  return testing::AssertionFailure() << "nothing was refused, expected \"" << text << "\"";
}

}  // namespace elastic::test
