// SPDX-License-Identifier: Apache-2.0
#include "train/loss_guard.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/log.hpp"

namespace elastic {
namespace {
const char* const text_name = "guard";

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

std::string describe(const GuardedStep& step, const std::string& reason) {
  return fmt::format("step {} ({}): {}", step.step, step.stage, reason);
}
}  // namespace

std::string LossGuard::spike(const GuardedStep& step, double loss) const {
  const index_t least = std::min<index_t>(m_config.spike_window, 5);
  if (!watches_spikes() || step.stream != m_stream || static_cast<index_t>(m_losses.size()) < least)
    return "";
  const double usual = median(m_losses);
  if (loss <= m_config.spike_factor * usual) return "";
  return fmt::format("loss {}: a spike, above {:g} times the median {} of the last {} losses", loss,
                     m_config.spike_factor, usual, m_losses.size());
}

void LossGuard::remember(const GuardedStep& step, double loss) {
  if (!watches_spikes()) return;
  if (step.stream != m_stream) m_losses.clear();
  m_stream = step.stream;
  m_losses.push_back(loss);
  if (static_cast<index_t>(m_losses.size()) > m_config.spike_window)
    m_losses.erase(m_losses.begin());
}

void LossGuard::count_event(const std::string& message) {
  if (m_events >= m_config.limit)
    throw NumericsError(fmt::format("{}; {} steps were skipped or undone already (guard/limit)",
                                    message, m_events));
  ++m_events;
}

void LossGuard::roll_back(const GuardedStep& step, const std::string& message) {
  count_event(message);
  m_left_out.push_back({step.stream, data_block(step.stream, step.local_step)});
  throw RollBack(message);
}

void LossGuard::refuse(const GuardedStep& step, const std::string& reason) {
  const std::string message = describe(step, reason);
  switch (m_config.policy) {
    case GuardPolicy::stop:
      throw NumericsError(message);
    case GuardPolicy::skip:
      count_event(message);
      log::warn("{}; skipped, {} of {} (guard/limit)", message, m_events, m_config.limit);
      return;
    case GuardPolicy::rollback:
      roll_back(step, message);
  }
}

void LossGuard::refuse_update(const GuardedStep& step, const std::string& reason) {
  const std::string message = describe(step, reason);
  if (m_config.policy == GuardPolicy::rollback) roll_back(step, message);
  throw NumericsError(message);
}

index_t LossGuard::data_block(std::uint64_t stream, index_t local_step) const {
  std::vector<index_t> left_out;
  for (const Block& block : m_left_out)
    if (block.stream == stream) left_out.push_back(block.block);
  std::sort(left_out.begin(), left_out.end());
  index_t block = local_step - 1;
  for (const index_t gone : left_out) block += gone <= block;
  return block;
}

std::string LossGuard::to_text() const {
  auto left_out = nlohmann::json::array();
  for (const Block& block : m_left_out) left_out.push_back({block.stream, block.block});
  return nlohmann::json{
      {"events", m_events}, {"left_out", left_out}, {"losses", m_losses}, {"stream", m_stream}}
      .dump();
}

void LossGuard::from_text(const std::string& text, const std::string& file) {
  const auto refuse = [&](const std::string& what) {
    throw InputError(fmt::format("{}: text/{}: {}", file, text_name, what));
  };
  try {
    const auto json = nlohmann::json::parse(text);
    m_events = json.at("events").get<index_t>();
    m_stream = json.at("stream").get<std::uint64_t>();
    m_losses = json.at("losses").get<std::vector<double>>();
    m_left_out.clear();
    for (const auto& block : json.at("left_out"))
      m_left_out.push_back({block.at(0).get<std::uint64_t>(), block.at(1).get<index_t>()});
  } catch (const nlohmann::json::exception& error) {
    refuse(error.what());
  }
  if (m_events < 0) refuse(fmt::format("events = {}; expected 0 or more", m_events));
  for (const Block& block : m_left_out)
    if (block.block < 0) refuse(fmt::format("left_out: block {} < 0", block.block));
  while (static_cast<index_t>(m_losses.size()) > m_config.spike_window)
    m_losses.erase(m_losses.begin());
}

void LossGuard::write(CheckpointWriter& file) const {
  if (!m_losses.empty() || m_events > 0) file.text(text_name, to_text());
}

void LossGuard::read(const CheckpointReader& file) {
  *this = LossGuard(m_config);
  if (file.has_text(text_name)) from_text(file.text(text_name), file.path().string());
}

void LossGuard::keep_events_of(const LossGuard& later) {
  m_events = later.m_events;
  m_left_out = later.m_left_out;
}

}  // namespace elastic
