// SPDX-License-Identifier: Apache-2.0
// Generated problems: right answers, right steps, splits that never overlap.
#include "data/reasoning_problems.hpp"

#include <map>
#include <regex>
#include <set>
#include <unordered_set>

#include "data/character_vocabulary.hpp"
#include "unit_tests/data/data_support.hpp"

namespace elastic::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ReasoningConfig only(Family family, index_t size = 0) {
  ReasoningConfig config;
  config.families = {family};
  if (size == 0) return config;
  config.max_digits = config.comparison_length = config.assignment_length = size;
  config.multiplication_digits = std::min<index_t>(size, 4);
  config.expression_length = size;
  config.program_length = std::max<index_t>(size, 2);
  return config;
}

long number(std::string least_significant_first) {
  std::reverse(least_significant_first.begin(), least_significant_first.end());
  return std::stol(least_significant_first);
}

constexpr auto all_families = {Family::addition,   Family::subtraction,    Family::comparison,
                               Family::assignment, Family::multiplication, Family::expression,
                               Family::program};

long digit_of(long value) { return (value % 10 + 10) % 10; }
long applied(char o, long x, long y) {
  return digit_of(o == '+' ? x + y : (o == '-' ? x - y : x * y));
}

/// Replaces one operation in innermost parentheses after the other; `values` are its results in
/// this order (that of the text: each time the first pair that holds none).
std::string reduce(std::string text, std::vector<long>* values = nullptr) {
  const std::regex innermost("\\((\\d)([+*-])(\\d)\\)"), root("\\[(\\d)([+*-])(\\d)\\]=");
  std::smatch m;
  while (std::regex_search(text, m, innermost)) {
    const long value = applied(m[2].str()[0], std::stol(m[1]), std::stol(m[3]));
    if (values != nullptr) values->push_back(value);
    text = m.prefix().str() + std::to_string(value) + m.suffix().str();
  }
  EXPECT_TRUE(std::regex_match(text, m, root)) << text;
  return std::to_string(applied(m[2].str()[0], std::stol(m[1]), std::stol(m[3])));
}

/// The values of the lines of a program, in order.
std::vector<std::pair<char, long>> execute(const std::string& prompt) {
  std::map<char, long> value;
  std::vector<std::pair<char, long>> lines;
  const auto operand = [&](char c) {
    return std::isdigit(static_cast<unsigned char>(c)) ? c - '0' : value.at(c);
  };
  std::size_t at = 0;
  for (; prompt[at] != '?'; at = prompt.find(';', at) + 1) {
    EXPECT_FALSE(value.count(prompt[at])) << "assigned twice in " << prompt;
    const bool number = prompt[at + 3] == ';';
    const long result =
        number ? operand(prompt[at + 2])
               : applied(prompt[at + 3], operand(prompt[at + 2]), operand(prompt[at + 4]));
    value[prompt[at]] = result;
    lines.emplace_back(prompt[at], result);
  }
  EXPECT_EQ(prompt[at + 1], lines.back().first) << prompt;
  return lines;
}

/// The answer by other means than the generator's.
std::string solve(const std::string& prompt) {
  std::smatch m;
  if (std::regex_match(prompt, m, std::regex("(\\d+)([+-])(\\d+)="))) {
    const long x = number(m[1]), y = number(m[3]), value = m[2] == "+" ? x + y : x - y;
    std::string text = std::to_string(value);
    text.insert(0, static_cast<std::size_t>(m[1].length()) + (m[2] == "+") - text.size(), '0');
    return {text.rbegin(), text.rend()};
  }
  if (std::regex_match(prompt, m, std::regex("(\\d+)\\*(\\d+)="))) {
    std::string text = std::to_string(number(m[1]) * number(m[2]));
    text.insert(0, static_cast<std::size_t>(m[1].length() + m[2].length()) - text.size(), '0');
    return {text.rbegin(), text.rend()};
  }
  if (prompt[0] == '[') return reduce(prompt);
  if (prompt.find(';') != std::string::npos) return std::to_string(execute(prompt).back().second);
  if (prompt[0] == '>') {
    long largest = -1;
    for (std::size_t i = 1; prompt[i] != '='; i += 3)
      largest = std::max(largest, std::stol(prompt.substr(i + 1, 2)));
    return fmt::format("{:02}", largest);
  }
  std::map<char, char> value;
  for (std::size_t i = 0; prompt[i] != '?'; i += 4) {
    EXPECT_FALSE(value.count(prompt[i])) << "defined twice in " << prompt;
    value[prompt[i]] = prompt[i + 2];
  }
  char c = prompt[prompt.find('?') + 1];
  for (int i = 0; i < 10 && std::isalpha(static_cast<unsigned char>(c)); ++i) c = value.at(c);
  return std::string(1, c);
}

TEST(ReasoningProblems, AnswersAreRightAndFollowTheSteps) {
  for (const index_t size : {2, 3, 9})
    for (const Family family : all_families) {
      const ReasoningProblems problems(only(family, size), 3);
      for (index_t i = 0; i < 2000; ++i) {
        const Split split = i % 4 == 0 ? Split::validation : Split::train;
        const Problem p = problems.problem(split, i);
        ASSERT_EQ(p.family, family);
        ASSERT_EQ(p.answer, solve(p.prompt)) << p.prompt;
        ASSERT_EQ(p.completion.substr(p.completion.find('#') + 1), p.answer);
        ASSERT_EQ(p.completion.find('#'), p.completion.rfind('#'));
        ASSERT_EQ(p.prompt.find('#'), std::string::npos);
        ASSERT_EQ(split_of(p, 0.1), split);
      }
    }
}

TEST(ReasoningProblems, ColumnsRestateDigitsAndCarry) {
  const std::regex step("([a-i])(\\d),(\\d)([+-])(\\d)=(\\d)(\\d)");
  for (const Family family : {Family::addition, Family::subtraction}) {
    const ReasoningProblems problems(only(family, 9), 4);
    for (index_t i = 0; i < 300; ++i) {
      const Problem p = problems.problem(Split::train, i);
      const std::size_t n = (p.prompt.size() - 2) / 2;
      std::string results;
      char carry = '0';
      for (std::size_t c = 0; c < n; ++c) {
        std::smatch m;
        const std::string text = p.completion.substr(9 * c, 9);
        ASSERT_TRUE(std::regex_match(text, m, step)) << text;
        EXPECT_EQ(m[1].str()[0], static_cast<char>('a' + c));
        EXPECT_EQ(m[2].str()[0], carry);
        EXPECT_EQ(m[3].str()[0], p.prompt[c]);
        EXPECT_EQ(m[5].str()[0], p.prompt[n + 1 + c]);
        const int x = std::stoi(m[3]), y = std::stoi(m[5]), in = std::stoi(m[2]),
                  out = std::stoi(m[6]), digit = std::stoi(m[7]);
        EXPECT_EQ(family == Family::addition ? x + y + in : x - y - in + 20 * out,
                  10 * out + digit);
        carry = m[6].str()[0];
        results += m[7].str();
      }
      EXPECT_EQ(p.answer, family == Family::addition ? results + carry : results);
      if (family == Family::subtraction) {
        EXPECT_EQ(carry, '0');  // never below zero
      }
    }
  }
}

TEST(ReasoningProblems, ChainsRestateWhatTheyUse) {
  const ReasoningProblems comparisons(only(Family::comparison), 5),
      assignments(only(Family::assignment), 5);
  for (index_t i = 0; i < 300; ++i) {
    const Problem c = comparisons.problem(Split::train, i);
    std::string largest = c.prompt.substr(2, 2), expected = largest;
    for (std::size_t at = 4; c.prompt[at] != '='; at += 3) {
      largest = std::max(largest, c.prompt.substr(at + 1, 2));
      expected += c.prompt.substr(at, 3) + ":" + largest;
    }
    EXPECT_EQ(c.completion, expected + "#" + largest);

    const Problem a = assignments.problem(Split::train, i);
    const std::string steps = a.completion.substr(0, a.completion.find('#'));
    char looked_up = a.prompt[a.prompt.find('?') + 1];
    for (std::size_t at = 0; at < steps.size(); at += 4) {
      EXPECT_EQ(steps[at], looked_up);
      EXPECT_NE(a.prompt.find(steps.substr(at, 3) + ","), std::string::npos);
      looked_up = steps[at + 2];
    }
    EXPECT_EQ(std::string(1, looked_up), a.answer);
  }
}

/// Partial products are written in whole; values of expressions and programs one in so many.
TEST(ReasoningProblems, StepsAreLeftOutAsAsked) {
  for (const index_t step : {1, 2, 3}) {
    for (const Family family : {Family::multiplication, Family::expression, Family::program}) {
      auto config = only(family, 8);
      config.written_step = step;
      const ReasoningProblems problems(config, 5);
      for (index_t i = 0; i < 300; ++i) {
        const Problem p = problems.problem(Split::train, i);
        std::string expected;
        if (family == Family::multiplication) {
          const auto sign = p.prompt.find('*');
          const long x = number(p.prompt.substr(0, sign));
          for (std::size_t j = sign + 1; p.prompt[j] != '='; ++j) {
            std::string product = std::to_string(x * (p.prompt[j] - '0'));
            product.insert(0, sign + 1 - product.size(), '0');
            expected += static_cast<char>('a' + j - sign - 1);
            expected.append(product.rbegin(), product.rend());
          }
        } else if (family == Family::expression) {
          std::vector<long> values;
          reduce(p.prompt, &values);
          for (std::size_t v = 0; v < values.size(); ++v)
            if ((static_cast<index_t>(v) + 1) % step == 0) expected += std::to_string(values[v]);
        } else {
          const auto lines = execute(p.prompt);
          for (std::size_t v = 0; v + 1 < lines.size(); ++v)
            if ((static_cast<index_t>(v) + 1) % step == 0)
              expected += lines[v].first + std::to_string(lines[v].second);
        }
        ASSERT_EQ(p.completion, expected + "#" + p.answer) << p.prompt;
      }
    }
  }
}

/// Programs that differ in names only are one problem, products in the order of factors likewise.
TEST(ReasoningProblems, NamesAndOrderOfFactorsDoNotChangeTheContent) {
  std::map<std::string, std::set<std::string>> prompts;
  for (const Family family : {Family::program, Family::multiplication}) {
    const ReasoningProblems problems(only(family, 2), 1);
    for (index_t i = 0; i < 30000; ++i) {
      const Problem p = problems.problem(Split::train, i);
      prompts[p.content].insert(p.prompt);
    }
  }
  index_t renamed = 0, swapped = 0;
  for (const auto& [content, texts] : prompts)
    (content[0] == '=' ? renamed : swapped) += texts.size() > 1;
  EXPECT_GT(renamed, 100);
  EXPECT_GT(swapped, 100);
}

/// 100,000 problems each of training (of many seeds, streams and sizes) and of validation.
TEST(ReasoningProblems, NoValidationProblemIsEverTrainedOn) {
  std::unordered_set<std::string> held_out, held_out_prompts;
  for (std::uint32_t seed = 0; seed < 4; ++seed) {
    ReasoningConfig config;
    config.families = all_families;
    const ReasoningProblems problems(config, seed, seed % 2);
    for (index_t i = 0; i < 25000; ++i) {
      const Problem p = problems.problem(Split::validation, i);
      held_out.insert(p.content);
      held_out_prompts.insert(p.prompt);
    }
  }
  EXPECT_GT(held_out.size(), 30000u);
  index_t trained = 0;
  for (std::uint32_t seed = 0; seed < 10; ++seed) {
    ReasoningConfig config;
    config.max_digits = 1 + seed % 4;
    config.comparison_length = config.assignment_length = 2 + seed % 4;
    config.multiplication_digits = 1 + seed % 3;
    config.expression_length = 1 + seed % 5;
    config.program_length = 2 + seed % 5;
    config.families = all_families;
    const ReasoningProblems problems(config, seed, seed / 5);
    for (index_t i = 0; i < 10000; ++i, ++trained) {
      const Problem p = problems.problem(Split::train, i);
      ASSERT_FALSE(held_out.count(p.content)) << p.prompt;
      ASSERT_FALSE(held_out_prompts.count(p.prompt)) << p.prompt;
    }
  }
  EXPECT_EQ(trained, 100000);
}

/// a+b and b+a, lists in another order and definitions in another order are the same problem.
TEST(ReasoningProblems, OrderAndZerosDoNotChangeTheContent) {
  std::map<std::string, std::unordered_set<std::string>> prompts;
  ReasoningConfig config;
  config.max_digits = 2;
  config.comparison_length = 2;
  const ReasoningProblems problems(config, 1);
  for (index_t i = 0; i < 60000; ++i) {
    const Problem p = problems.problem(Split::train, i);
    prompts[p.content].insert(p.prompt);
  }
  index_t sums = 0, lists = 0;
  for (const auto& [content, texts] : prompts) {
    if (content[0] == '>') lists += texts.size() > 1;
    const auto plus = content.find('+');
    if (plus == std::string::npos) continue;
    sums += texts.size() > 1;
    const std::set<long> expected = {std::stol(content), std::stol(content.substr(plus + 1))};
    for (const std::string& text : texts) {
      const std::size_t n = text.find('+');
      const std::set<long> found = {number(text.substr(0, n)), number(text.substr(n + 1, n))};
      EXPECT_EQ(found, expected) << text;
    }
  }
  EXPECT_GT(sums, 100);
  EXPECT_GT(lists, 100);
}

/// The held-out share is that of the configuration, in every family.
TEST(ReasoningProblems, HeldOutFraction) {
  for (const double fraction : {0.1, 0.3}) {
    std::map<Family, std::pair<index_t, index_t>> counts;
    ReasoningConfig config;
    config.max_digits = 4;
    config.comparison_length = config.assignment_length = 4;
    config.held_out_fraction = 0.001;  // so that training problems are nearly all problems
    config.families = all_families;
    const ReasoningProblems problems(config, 1);
    for (index_t i = 0; i < 70000; ++i) {
      const Problem p = problems.problem(Split::train, i);
      ++counts[p.family].first;
      counts[p.family].second += split_of(p, fraction) == Split::validation;
    }
    EXPECT_EQ(counts.size(), 7u);
    for (const auto& [family, count] : counts) {
      EXPECT_NEAR(static_cast<double>(count.first), 10000, 500);
      EXPECT_NEAR(static_cast<double>(count.second) / static_cast<double>(count.first), fraction,
                  0.02)
          << family_name(family);
    }
  }
}

TEST(ReasoningProblems, ArePureFunctionsOfTheirNumber) {
  const ReasoningProblems one({}, 7, 2), other({}, 7, 2), seed({}, 8, 2), stream({}, 7, 3);
  index_t equal_seed = 0, equal_stream = 0;
  for (index_t i = 0; i < 200; ++i) {
    const Problem p = one.problem(Split::train, 199 - i);
    EXPECT_EQ(p.prompt, other.problem(Split::train, 199 - i).prompt);
    EXPECT_EQ(p.prompt, one.problem(Split::train, 199 - i).prompt);
    equal_seed += p.prompt == seed.problem(Split::train, 199 - i).prompt;
    equal_stream += p.prompt == stream.problem(Split::train, 199 - i).prompt;
  }
  EXPECT_LT(equal_seed, 5);
  EXPECT_LT(equal_stream, 5);
}

TEST(ReasoningProblems, DocumentsHaveWeightsOfPromptAndCompletion) {
  ReasoningConfig config;
  config.prompt_weight = 0.25f;
  const ReasoningProblems problems(config, 1);
  const Problem p = problems.problem(Split::train, 0);
  const Document document = problems.document(p);
  EXPECT_EQ(document.tokens.front(), CharacterVocabulary::begin);
  EXPECT_EQ(document.tokens.back(), CharacterVocabulary::end);
  EXPECT_EQ(CharacterVocabulary::decode(document.tokens), p.prompt + p.completion);
  ASSERT_EQ(document.weight.size(), document.tokens.size());
  for (std::size_t i = 1; i < document.weight.size(); ++i)
    EXPECT_EQ(document.weight[i], i <= p.prompt.size() ? 0.25f : 1.0f) << i;
  EXPECT_EQ(CharacterVocabulary::decode(prompt_tokens(p)), p.prompt);
  EXPECT_EQ(prompt_tokens(p).size(), p.prompt.size() + 1);
}

TEST(ReasoningProblems, LongestDocumentIsExact) {
  EXPECT_LE(ReasoningProblems({}, 1).longest_document(), 48);
  for (const index_t size : {2, 3, 4})
    for (const Family family : all_families) {
      const ReasoningProblems problems(only(family, size), 1);
      std::size_t longest = 0;
      for (index_t i = 0; i < 500; ++i)
        longest =
            std::max(longest, problems.document(problems.problem(Split::train, i)).tokens.size());
      EXPECT_EQ(static_cast<index_t>(longest), problems.longest_document()) << family_name(family);
    }
}

TEST(ReasoningProblems, CheckAnswerWantsTheExactAnswer) {
  const Problem p{Family::addition, "15+27=", "...", "324", ""};
  EXPECT_TRUE(check_answer(p, "a0,1+2=03#324"));
  EXPECT_TRUE(check_answer(p, "#1#324"));
  for (const char* wrong : {"", "324", "#32", "#3240", "#324 ", "#0324", "#324#", "#324#1"})
    EXPECT_FALSE(check_answer(p, wrong)) << wrong;
  const ReasoningProblems problems({}, 1);
  for (index_t i = 0; i < 100; ++i) {
    const Problem q = problems.problem(Split::validation, i);
    EXPECT_TRUE(check_answer(q, q.completion));
  }
}

TEST(ReasoningProblems, Errors) {
  const auto message = [](auto change) {
    ReasoningConfig config;
    change(config);
    return input_error([&] { ReasoningProblems(config, 1); });
  };
  EXPECT_THAT(message([](auto& c) { c.families.clear(); }), HasSubstr("no family"));
  EXPECT_THAT(message([](auto& c) { c.max_digits = 0; }),
              HasSubstr("max_digits is 0; expected 1 to 9"));
  EXPECT_THAT(message([](auto& c) { c.comparison_length = 1; }), HasSubstr("comparison_length"));
  EXPECT_THAT(message([](auto& c) { c.assignment_length = 10; }), HasSubstr("assignment_length"));
  EXPECT_THAT(message([](auto& c) { c.held_out_fraction = 0; }), HasSubstr("held_out_fraction"));
  EXPECT_THAT(message([](auto& c) { c.prompt_weight = -1; }), HasSubstr("prompt_weight"));
  EXPECT_THAT(input_error([] { family_from_name("adition"); }),
              HasSubstr("expected one of addition, subtraction, comparison, assignment"));
  EXPECT_THAT(message([](auto& c) { c.multiplication_digits = 5; }),
              HasSubstr("multiplication_digits is 5; expected 1 to 4"));
  EXPECT_THAT(message([](auto& c) { c.expression_length = 0; }), HasSubstr("expression_length"));
  EXPECT_THAT(message([](auto& c) { c.program_length = 21; }), HasSubstr("program_length"));
  EXPECT_THAT(message([](auto& c) { c.written_step = 0; }), HasSubstr("written_step"));
  EXPECT_EQ(family_names().size(), all_families.size());
  for (const Family family : all_families) EXPECT_EQ(family_from_name(family_name(family)), family);
}

/// 55 sums of single digits and a fraction of 0.001: nothing to validate on, said at once.
TEST(ReasoningProblems, ASplitWithoutProblemsIsAnError) {
  ReasoningConfig config = only(Family::addition, 1);
  config.comparison_length = config.assignment_length = 2;
  config.held_out_fraction = 0.001;
  const ReasoningProblems problems(config, 1);
  EXPECT_THAT(input_error([&] { problems.problem(Split::validation, 0); }),
              HasSubstr("none of the addition problems of these sizes is for validation"));
}

}  // namespace
}  // namespace elastic::test
