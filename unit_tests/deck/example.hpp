// SPDX-License-Identifier: Apache-2.0
// A small configuration with every type of key, shared by the tests of the deck.
#pragma once
#include <string>
#include <vector>

#include "deck/schema.hpp"

namespace elastic::test {

enum class Activation { squared_relu, swiglu };

struct ExampleConfig {
  std::string name, folder = "runs";
  index_t seed = 1234, heads = 8, groups = 2, chunk = 64;
  bool resume = false;
  double learning_rate = 1e-4, tau_end = 0.05;
  std::string pattern = "M*-";
  Activation activation = Activation::squared_relu;
  std::vector<index_t> widths = {128, 64};
  std::vector<double> weights = {};
  std::vector<std::string> files = {"a.h5", "b.h5"};
  std::string teacher;
  index_t tokens = 0;

  void bind(Schema& schema) {
    schema.block("job", "What this run is called.")
        .bind("name", &name, {.required = true, .help = "Short name of the run."})
        .bind("seed", &seed,
              {.unit = "1", .range = Interval::at_least(0), .help = "Seed of all random numbers."})
        .bind("folder", &folder)
        .bind("resume", &resume, {.help = "Continue from the newest checkpoint."});
    schema.block("model", "Architecture.")
        .bind_pattern("pattern", &pattern, "M*-", {.help = "Kinds of layers."})
        .bind("activation", &activation,
              {{"squared_relu", Activation::squared_relu}, {"swiglu", Activation::swiglu}})
        .bind("num_heads", &heads, {.range = Interval::at_least(1)})
        .bind("num_groups", &groups, {.range = Interval::at_least(1)})
        .bind("chunk_size", &chunk, {.unit = "tokens", .allowed = {"32", "64", "128"}})
        .bind("widths", &widths, {.range = Interval::at_least(1), .help = "Allowed widths."})
        .replaced("num_head", "'num_heads' and 'num_groups'");
    schema.block("optimizer", "How parameters move.")
        .bind("learning_rate", &learning_rate,
              {.unit = "1", .range = {.low = 0, .high = 1, .low_open = true}});
    schema.block("router", "Choice of the submodel.")
        .bind("tau_end", &tau_end, {.range = Interval::positive()})
        .bind("weights", &weights)
        .bind("files", &files);
    schema.optional_block("distill", "Learning from a teacher.")
        .bind("teacher", &teacher, {.required = true});
    schema.optional_block("stage1", "First stage.")
        .bind("tokens", &tokens,
              {.required = true, .unit = "tokens", .range = Interval::at_least(1)});
  }
};

inline const std::string example_text = R"(# a valid deck
<job>
name = toy        # the rest takes defaults
resume = true

<model>
pattern = M-M* &    # first half
          M - M
activation = swiglu
widths = 256, 128,&
         64

<router>
weights = 0.5, 1e-3
tau_end = 1

<stage1>
tokens = 110e9
)";

}  // namespace elastic::test
