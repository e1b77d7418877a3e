#include <headway/core/log.h>

#include <mutex>

#include <headway/core/fork.h>

namespace headway::inline v1 {
namespace {
core::RenewedMutex sink_mutex;  // held while the sink works, which may wait for anything
constinit core::MadeOnce<LogSink> the_sink;
LogSink& sink() {
  return the_sink.get([] { return LogSink(); });
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
