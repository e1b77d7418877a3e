#include <headway/core/log.h>

#include <mutex>

namespace headway::inline v1 {
namespace {
std::mutex sink_mutex;
LogSink& sink() {
  static LogSink instance;
  return instance;
}
}  // namespace

LogSink set_log_sink(LogSink next) {
  std::lock_guard lock(sink_mutex);
  std::swap(sink(), next);
  return next;
}

namespace core {
void log(LogLevel level, std::string_view message) {
  std::lock_guard lock(sink_mutex);
  if (sink()) sink()(level, message);
}
}  // namespace core
}  // namespace headway::inline v1
