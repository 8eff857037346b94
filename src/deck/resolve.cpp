// SPDX-License-Identifier: Apache-2.0
// Matching of deck and schema, see resolve.hpp.
#include "deck/resolve.hpp"

#include <fmt/format.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "deck/text.hpp"

namespace elastic {
namespace {

std::string subject_of(const DeckEntry& entry) {
  return fmt::format("<{}>/{} = {}", entry.block, entry.key, impl::shorten(entry.value));
}

std::string suggest_block(const std::string& name, const Schema& schema) {
  if (const auto near = impl::nearest(name, schema.block_names()))
    return fmt::format("unknown block; nearest valid name '{}'", near->name);
  return fmt::format("unknown block; the blocks are {}", impl::join(schema.block_names()));
}

/// What replaces a key of earlier versions; else the nearest key of the same block, unless one of
/// another block is nearer.
std::string suggest_key(const DeckEntry& entry, const SchemaBlock& block, const Schema& schema) {
  if (const std::string* by = block.replacement(entry.key))
    return fmt::format("a key of earlier versions, replaced by {}", *by);
  auto best = impl::nearest(entry.key, block.key_names());
  std::string elsewhere;
  for (const SchemaBlock& other : schema.blocks()) {
    const auto near = impl::nearest(entry.key, other.key_names());
    if (near && (!best || near->distance < best->distance)) {
      best = near;
      elsewhere = other.name();
    }
  }
  if (!elsewhere.empty())
    return fmt::format("unknown key; did you mean <{}>/{}?", elsewhere, best->name);
  if (best) return fmt::format("unknown key; nearest valid name '{}'", best->name);
  return fmt::format("unknown key; the keys of <{}> are {}", block.name(),
                     impl::join(block.key_names()));
}

void check_names(const Deck& deck, const Schema& schema, DeckReport& report) {
  for (const DeckBlock& block : deck.blocks())
    if (block.place.origin == ValueOrigin::deck && !schema.find(block.name))
      report.add_at(block.place, fmt::format("<{}>", block.name),
                    suggest_block(block.name, schema));
  for (const DeckEntry& entry : deck.entries()) {
    const SchemaBlock* block = schema.find(entry.block);
    if (block && !block->find(entry.key))
      report.add_at(entry.place, subject_of(entry), suggest_key(entry, *block, schema));
    if (!block && entry.place.origin == ValueOrigin::command_line)
      report.add_at(entry.place, subject_of(entry), suggest_block(entry.block, schema));
  }
}

/// Reads one key into its member.
void resolve_key(const Deck& deck, DeckPlace block_place, const SchemaBlock& block, SchemaKey& key,
                 DeckReport& report) {
  const DeckEntry* entry = deck.find(block.name(), key.name);
  key.origin = entry ? entry->place.origin : ValueOrigin::default_value;
  if (!entry) {
    const bool missing = key.options.required && block.is_used();
    const std::string value =
        key.options.required ? "" : fmt::format(" = {} (default)", impl::shorten(key.default_text));
    report.describe(block.name(), key.name, block_place,
                    fmt::format("<{}>/{}{}", block.name(), key.name, value));
    if (missing)
      report.add_wrong(block.name(), key.name,
                       fmt::format("required key is missing; expected {}{}{}", key.expected,
                                   key.options.help.empty() ? "" : ": ", key.options.help));
    return;
  }
  report.describe(block.name(), key.name, entry->place, subject_of(*entry));
  std::string detail;
  const bool empty = entry->value.empty() || entry->value == "\"\"";
  if ((key.options.required && empty) || !key.read(entry->value, detail)) {
    const auto near = impl::nearest(entry->value, key.options.allowed);
    if (near) detail = fmt::format("nearest valid value '{}'", near->name);
    report.add_wrong(
        block.name(), key.name,
        fmt::format("expected {}{}{}", key.expected, detail.empty() ? "" : "; ", detail));
  }
}

}  // namespace

DeckReport resolve(const Deck& deck, Schema& schema) {
  DeckReport report(deck);
  check_names(deck, schema, report);
  for (SchemaBlock& block : schema.blocks()) {
    const auto found = std::find_if(deck.blocks().begin(), deck.blocks().end(),
                                    [&](const DeckBlock& b) { return b.name == block.name(); });
    const DeckPlace place = found == deck.blocks().end() ? DeckPlace{} : found->place;
    block.set_used(!block.is_optional() || found != deck.blocks().end());
    report.describe(block.name(), "", place, fmt::format("<{}>", block.name()));
    for (SchemaKey& key : block.keys()) resolve_key(deck, place, block, key, report);
  }
  return report;
}

std::string resolved_text(const Schema& schema) {
  std::string out = fmt::format("# resolved deck, hash {:016x}\n", resolved_hash(schema));
  for (const SchemaBlock& block : schema.blocks()) {
    if (!block.is_used()) continue;
    std::size_t width = 0;
    for (const SchemaKey& key : block.keys()) width = std::max(width, key.name.size());
    out += fmt::format("\n<{}>\n", block.name());
    for (const SchemaKey& key : block.keys()) {
      const std::string& unit = key.options.unit;
      out += fmt::format("{:<{}} = {:<24}  # {}{}{}\n", key.name, width, key.write(),
                         unit == "1" ? "" : unit, unit.empty() || unit == "1" ? "" : "; ",
                         to_string(key.origin));
    }
  }
  return out;
}

std::uint64_t resolved_hash(const Schema& schema) {
  std::string canonical;
  for (const SchemaBlock& block : schema.blocks()) {
    if (!block.is_used()) continue;
    canonical += fmt::format("<{}>\n", block.name());
    for (const SchemaKey& key : block.keys())
      canonical += fmt::format("{} = {}\n", key.name, key.write());
  }
  return XXH64(canonical.data(), canonical.size(), 0);
}

}  // namespace elastic
