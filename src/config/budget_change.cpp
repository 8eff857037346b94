// SPDX-License-Identifier: Apache-2.0
#include "config/budget_change.hpp"

#include <algorithm>
#include <charconv>

#include "data/character_vocabulary.hpp"
#include "data/text_source.hpp"
#include "deck/text.hpp"
#include "deck/value.hpp"

namespace elastic {
namespace {

/// Words of a model for this data.
index_t vocabulary_of(const DataConfig& data) {
  if (data.vocab_size > 0 || data.source == SourceKind::indexed) return data.vocab_size;
  return data.source == SourceKind::text ? TextSource::vocabulary : CharacterVocabulary::size;
}

constexpr std::string_view text_prefix = "text:", token_prefix = "token:";

bool begins_with(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Whether people would read it as a number.
bool looks_like_number(std::string_view text) {
  const bool sign = text.size() > 1 && (text[0] == '-' || text[0] == '+');
  return text.size() > sign && is_digit(text[sign]);
}

bool read_whole(std::string_view text, index_t& value) {
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stopped == end;
}

std::vector<token_t> tokens_of_text(SourceKind source, std::string_view text) {
  switch (source) {
    case SourceKind::reasoning:
      return CharacterVocabulary::encode(text);
    case SourceKind::text: {
      std::vector<token_t> tokens;
      for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
      return tokens;
    }
    case SourceKind::indexed:
      throw InputError("tokens of indexed data have no text here; expected token:ID");
  }
  throw_contract("a source of no kind");
}

BudgetChange read_change(const DataConfig& data, const std::string& text, index_t least) {
  const auto at = text.find('@');
  const std::string what = at == text.npos ? "" : text.substr(at + 1);
  const auto refuse = [&] {
    throw InputError(fmt::format(
        "{}: expected BUDGET@N with N = {} or more generated tokens, or BUDGET@MARKER (a text, "
        "text:TEXT for one that begins with a number, or token:ID){}",
        text, least,
        what.empty() ? "; in a deck # begins a comment unless it stands in quotes: \"0.5@#\""
                     : ""));
  };
  if (what.empty()) refuse();
  BudgetChange change{.budget = text.substr(0, at), .marker = {}};
  if (looks_like_number(what)) {
    if (!read_whole(what, change.after) || change.after < least) refuse();
    return change;
  }
  try {
    change.marker = read_marker(data, what);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {}", text, error.what()));
  }
  return change;
}

/// Budgets of a run: by name, or any part of the parent's cost.
std::string budget_mistake(const RunConfig& config, const std::string& budget) {
  std::vector<std::string> names;
  for (const auto& known : all_budgets(config)) names.push_back(known.name);
  double part = 0;
  if (std::find(names.begin(), names.end(), budget) != names.end()) return {};
  if (impl::read_scalar(budget, part) && part > 0 && part <= 1) return {};
  const auto near = impl::nearest(budget, names);
  return fmt::format("'{}' is no budget; expected a number in (0, 1] or one of {}{}", budget,
                     impl::join(names), near ? fmt::format("; nearest '{}'", near->name) : "");
}

}  // namespace

std::vector<token_t> read_marker(const DataConfig& data, const std::string& text) {
  std::vector<token_t> tokens;
  if (begins_with(text, token_prefix)) {
    const std::string_view id = std::string_view(text).substr(token_prefix.size());
    index_t token = 0;
    if (!read_whole(id, token) || token < 0 || token >= vocabulary_of(data))
      throw InputError(
          fmt::format("'{}': expected token:ID with an id in [0, {})", text, vocabulary_of(data)));
    tokens.push_back(static_cast<token_t>(token));
  } else {
    const bool prefixed = begins_with(text, text_prefix);
    tokens = tokens_of_text(data.source, text.substr(prefixed ? text_prefix.size() : 0));
  }
  if (tokens.empty()) throw InputError(fmt::format("'{}': the marker is empty", text));
  if (data.source == SourceKind::reasoning &&
      std::find(tokens.begin(), tokens.end(), CharacterVocabulary::end) != tokens.end())
    throw InputError(fmt::format("'{}': this token ends a text, nothing goes on after it", text));
  return tokens;
}

std::vector<BudgetChange> read_budget_changes(const DataConfig& data,
                                              const std::vector<std::string>& texts) {
  std::vector<BudgetChange> changes;
  index_t last = 0;
  for (const auto& text : texts) {
    changes.push_back(read_change(data, text, last + 1));
    last = std::max(last, changes.back().after);
  }
  return changes;
}

void check_budget_changes(DeckReport& report, const RunConfig& config) {
  const auto check_budget = [&](const char* key, const std::string& budget) {
    if (const auto mistake = budget_mistake(config, budget); !mistake.empty())
      report.add("generate", key, mistake);
  };
  const bool budgets_known = !report.is_wrong("elastic", "budgets") &&
                             !report.is_wrong("elastic", "budget_names") &&
                             (config.elastic.budget_names.empty() ||
                              config.elastic.budget_names.size() == config.elastic.budgets.size());
  if (!config.generate.budget.empty() && budgets_known)
    check_budget("budget", config.generate.budget);
  try {
    for (const auto& change : read_budget_changes(config.data, config.generate.changes))
      if (budgets_known) check_budget("switch", change.budget);
  } catch (const InputError& error) {
    report.add("generate", "switch", error.what());
  }
  const std::string& marker = config.evaluate.switch_marker;
  if (marker.empty()) return;
  if (config.data.source != SourceKind::reasoning)
    report.add("evaluate", "switch_marker",
               "only generated problems (<data>/source = reasoning) have answers to check; leave "
               "it out");
  else
    try {
      read_marker(config.data, marker);
    } catch (const InputError& error) {
      report.add("evaluate", "switch_marker", error.what());
    }
}

}  // namespace elastic
