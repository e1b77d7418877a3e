#pragma once
#include <functional>
#include <string_view>

#include <headway/core/export.h>

namespace headway::inline v1 {

enum class LogLevel { debug, info, warning };
using LogSink = std::function<void(LogLevel, std::string_view)>;

/// Where messages go. The library itself prints nothing: without a sink they are dropped. Returns the former
/// sink.
HEADWAY_API LogSink set_log_sink(LogSink sink);

namespace core {
HEADWAY_API void log(LogLevel level, std::string_view message);
}
}  // namespace headway::inline v1
