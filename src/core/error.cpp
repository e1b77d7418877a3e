#include <headway/core/error.h>
#include <headway/core/quote.h>
#include <headway/core/version.h>

#include <fmt/format.h>

namespace headway::inline v1 {

#define HEADWAY_STRING_(x) #x
#define HEADWAY_STRING(x) HEADWAY_STRING_(x)

const char* version() {
  return HEADWAY_STRING(HEADWAY_VERSION_MAJOR) "." HEADWAY_STRING(HEADWAY_VERSION_MINOR) "." HEADWAY_STRING(
      HEADWAY_VERSION_PATCH);
}

std::string_view name_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::shape:
      return "shape";
    case ErrorCode::dtype:
      return "dtype";
    case ErrorCode::value:
      return "value";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::io:
      return "io";
    case ErrorCode::format:
      return "format";
    case ErrorCode::memory:
      return "memory";
    case ErrorCode::internal:
      return "internal";
  }
  return "unknown";
}

namespace {

// Paths and names may hold any bytes; what() ends at a NUL and is read as UTF-8 by terminals, logs and
// Python.
std::string as_text(std::string_view message) { return printable(message, message.size()); }

}  // namespace

Error::Error(ErrorCode code, std::string_view operation, std::string_view message)
    : std::runtime_error(as_text(fmt::format("{}: {}", operation, message))),
      code_(code),
      operation_(as_text(operation)) {}

void fail(ErrorCode code, std::string_view operation, std::string_view message) {
  throw Error(code, operation, message);
}

}  // namespace headway::inline v1
