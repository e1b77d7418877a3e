#pragma once
#include <stdexcept>
#include <string>
#include <string_view>

#include <headway/core/export.h>

namespace headway::inline v1 {

/// What kind of thing went wrong; scripts and bindings branch on this, people read the message.
enum class ErrorCode { shape, dtype, value, unsupported, io, format, memory, internal };

HEADWAY_API std::string_view name_of(ErrorCode code);

/// Every failure of the library. The message reads "operation: argument is this; want that".
class HEADWAY_API Error : public std::runtime_error {
 public:
  Error(ErrorCode code, std::string_view operation, std::string_view message);
  ErrorCode code() const noexcept { return code_; }
  const std::string& operation() const noexcept { return operation_; }

 private:
  ErrorCode code_;
  std::string operation_;
};

/// Throws Error(code, operation, message).
[[noreturn]] HEADWAY_API void fail(ErrorCode code, std::string_view operation, std::string_view message);

}  // namespace headway::inline v1
