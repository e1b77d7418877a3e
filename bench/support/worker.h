#pragma once
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

/// Both sides of a comparison are workers: programs that stay alive and warm, and do one piece of work for
/// each line of JSON they are sent. So a runner can alternate short pieces of each, which noise of the
/// machine hits alike.
namespace headway::bench {

using Json = nlohmann::ordered_json;

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// "--name value" pairs.
class Arguments {
 public:
  Arguments(int argc, char** argv);
  std::string text(const std::string& name) const;  ///< ends the program with a message when it is missing
  std::string text(const std::string& name, const std::string& otherwise) const;
  std::int64_t number(const std::string& name, std::int64_t otherwise) const;

 private:
  std::map<std::string, std::string> values_;
};

/// The next request on standard input; nothing at its end or for {"do": "quit"}.
std::optional<Json> next_request();
/// One line on standard output.
void answer(const Json& json);
/// Answers requests until they end. An exception ends the program with its message and exit code 1.
int serve(const std::function<Json(const Json&)>& work);
/// The same guard around anything.
int guarded(const std::function<void()>& body);

}  // namespace headway::bench
