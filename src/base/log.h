// The injected logger: spdlog behind one alias. Messages are `event key=value ...`, once, by whoever handles the event.
#pragma once

#include <memory>

#include <spdlog/logger.h>

namespace cairn {

using Logger = spdlog::logger;

// A logger that drops everything; for tests and for callers that give none. The same one each time; thread-safe. With
// it nobody has to ask whether there is a logger.
std::shared_ptr<Logger> null_logger();

}  // namespace cairn
