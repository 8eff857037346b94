// SPDX-License-Identifier: Apache-2.0
// Reading in pieces against full forward passes, and going back.
#include "model/decoder.hpp"

#include "elastic/cost_model.hpp"
#include "unit_tests/model/model_problem.hpp"

namespace elastic::test {
namespace {

/// Tokens [begin, end) of each of two sequences of `length`.
std::vector<token_t> piece(const std::vector<token_t>& tokens, index_t length, index_t begin,
                           index_t end) {
  std::vector<token_t> result;
  for (index_t b = 0; b < 2; ++b)
    result.insert(result.end(), tokens.begin() + b * length + begin,
                  tokens.begin() + b * length + end);
  return result;
}
/// Rows b * length + t of [2 * length, V], t in [begin, end).
template <class T>
std::vector<T> rows_of(const std::vector<T>& logits, index_t length, index_t begin, index_t end,
                       index_t vocab) {
  std::vector<T> result;
  for (index_t b = 0; b < 2; ++b)
    result.insert(result.end(), logits.begin() + (b * length + begin) * vocab,
                  logits.begin() + (b * length + end) * vocab);
  return result;
}

template <class T>
void check_pieces(const ModelShape& shape, const SubmodelSpec& spec) {
  SCOPED_TRACE(describe(shape, spec));
  const index_t length = 14, vocab = shape.vocab_size;
  ModelProblem<T> problem(shape, 2, {length});
  const auto widths = prefix_widths<T>(shape, spec);
  const auto expected = problem.logits(widths);
  const auto tokens = to_host(problem.tokens);
  const double tol = model_tolerance<T>(4000);
  for (const index_t step : {1, 3, 14}) {
    Decoder<T> each({}, problem.arena, problem.model, widths, 2, length),
        last({}, problem.arena, problem.model, widths, 2, length);
    for (index_t begin = 0; begin < length; begin += step) {
      const index_t end = std::min(length, begin + step);
      EXPECT_TRUE(near(to_host(each.read_each(piece(tokens, length, begin, end))),
                       rows_of(expected, length, begin, end, vocab), tol))
          << begin << " " << end;
      EXPECT_TRUE(near(to_host(last.read(piece(tokens, length, begin, end))),
                       rows_of(expected, length, end - 1, end, vocab), tol))
          << begin << " " << end;
      EXPECT_EQ(last.position(), end);
    }
    EXPECT_THROW(last.read({1, 2}), ContractError);  // past max_length
  }
}

TEST(Decoder, PiecesGiveTheFullForward) {
  check_pieces<bfloat16>(small_parent(), full_spec(small_parent()));
  check_pieces<float>(small_parent(), full_spec(small_parent()));
  check_pieces<double>(small_parent(), narrow_small_spec());
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    Draw draw(500 + seed);
    const auto shape = random_parent(draw);
    check_pieces<double>(shape, random_spec(draw, shape));
    check_pieces<float>(shape, random_spec(draw, shape));
    check_pieces<bfloat16>(shape, random_spec(draw, shape));
  }
}

TEST(Decoder, LongPromptsAreReadInPieces) {
  const index_t length = 300;  // 2 x 300 rows: three pieces
  ModelProblem<double> problem(small_parent(), 2, {length});
  const auto widths = problem.full_widths();
  Decoder<double> decoder({}, problem.arena, problem.model, widths, 2, length);
  EXPECT_TRUE(near(to_host(decoder.read(to_host(problem.tokens))),
                   rows_of(problem.logits(widths), length, length - 1, length, 50),
                   tolerance<double>(4000)));
}

/// What Kokkos is asked for while one of these lives.
class Allocations {
 public:
  Allocations() {
    bytes() = count() = 0;
    Kokkos::Tools::Experimental::set_allocate_data_callback(
        [](Kokkos_Profiling_SpaceHandle, const char*, const void*, std::uint64_t size) {
          bytes() += static_cast<double>(size);
          count() += 1;
        });
  }
  ~Allocations() { Kokkos::Tools::Experimental::set_allocate_data_callback(nullptr); }
  Allocations(const Allocations&) = delete;
  Allocations& operator=(const Allocations&) = delete;
  static double& bytes() {
    static double total = 0;
    return total;
  }
  static double& count() {
    static double total = 0;
    return total;
  }
};

template <class T>
void check_cache_bytes(const LanguageModel<T>& model, const SubmodelSpec& spec, index_t batch,
                       index_t length) {
  const ModelShape& shape = model.shape();
  const CostConfig config{BudgetKind::memory, batch, length, 1, sizeof(T), sizeof(T)};
  const auto widths = expected_widths(spec);
  const double formula =
      kv_cache_bytes(shape, widths, config) + ssm_cache_bytes(shape, widths, config);
  Arena arena;
  const Allocations allocations;
  const Decoder<T> decoder({}, arena, model, prefix_widths<T>(shape, spec), batch, length);
  // Kokkos rounds each array up to a multiple of 8 bytes.
  const double rounding = static_cast<double>(8 - sizeof(T)) * Allocations::count();
  EXPECT_GE(Allocations::bytes(), formula) << describe(shape, spec);
  EXPECT_LE(Allocations::bytes(), formula + rounding) << describe(shape, spec);
}

TEST(Decoder, CachesTakeWhatTheCostModelSays) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Draw draw(900 + seed);
    const auto shape = random_parent(draw);
    const auto spec = random_spec(draw, shape);
    const index_t batch = draw.between(1, 3), length = draw.between(1, 50);
    check_cache_bytes(LanguageModel<float>(shape, true), spec, batch, length);
    check_cache_bytes(LanguageModel<double>(shape, true), spec, batch, length);
  }
}

TEST(Decoder, GoesBack) {
  LanguageModel<float> model(small_parent(), true);
  randomize(model.parameters(), 76, 0.6);
  const auto widths = prefix_widths<float>(small_parent(), narrow_small_spec());
  Arena arena;
  Decoder<float> decoder({}, arena, model, widths, 1, 30, 3),
      straight({}, arena, model, widths, 1, 30);
  decoder.read({1, 2, 3, 4, 5, 6, 7});
  straight.read({1, 2, 3, 4, 5, 6, 7});
  for (index_t back = 0; back <= 3; ++back) {
    const index_t position = decoder.position();
    decoder.read_each({9, 8, 7});
    decoder.rewind(position + 3 - back);
    for (index_t i = 0; i < 3 - back; ++i) straight.read({static_cast<token_t>(9 - i)});
    const auto expected = to_host(straight.read({20, 30}));
    EXPECT_TRUE(near(to_host(decoder.read({20, 30})), expected, tolerance<float>(1000))) << back;
  }
  decoder.read({1, 2, 3, 4, 5});
  EXPECT_THROW(decoder.rewind(decoder.position() - 4), ContractError);
  EXPECT_THROW(decoder.rewind(decoder.position() + 1), ContractError);
  EXPECT_NO_THROW(decoder.rewind(decoder.position() - 3));
  EXPECT_THROW(decoder.rewind(decoder.position() - 1), ContractError);  // history is used up
}

}  // namespace
}  // namespace elastic::test
