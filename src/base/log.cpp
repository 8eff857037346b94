// SPDX-License-Identifier: Apache-2.0
#include "base/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>

namespace elastic::log {

void initialize(int rank) {
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "elastic", std::make_shared<spdlog::sinks::stdout_sink_mt>()));
  spdlog::set_pattern(rank == 0 ? "%v" : "[rank " + std::to_string(rank) + "] %v");
  spdlog::set_level(rank == 0 ? spdlog::level::info : spdlog::level::err);
}

}  // namespace elastic::log
