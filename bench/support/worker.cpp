#include "support/worker.h"

#include <cstdlib>
#include <exception>
#include <iostream>

#include <fmt/format.h>

namespace headway::bench {

Arguments::Arguments(int argc, char** argv) {
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    if (!name.starts_with("--") || i + 1 == argc) {
      std::cerr << fmt::format("{}: \"{}\"; want --name value pairs\n", argv[0], name);
      std::exit(2);
    }
    values_[name.substr(2)] = argv[i + 1];
  }
}

std::string Arguments::text(const std::string& name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) {
    std::cerr << fmt::format("--{} is missing\n", name);
    std::exit(2);
  }
  return found->second;
}

std::string Arguments::text(const std::string& name, const std::string& otherwise) const {
  const auto found = values_.find(name);
  return found == values_.end() ? otherwise : found->second;
}

std::int64_t Arguments::number(const std::string& name, std::int64_t otherwise) const {
  const auto found = values_.find(name);
  return found == values_.end() ? otherwise : std::stoll(found->second);
}

std::optional<Json> next_request() {
  for (std::string line; std::getline(std::cin, line);) {
    if (line.empty()) continue;
    Json request = Json::parse(line);
    if (request.value("do", "") == "quit") return {};
    return request;
  }
  return {};
}

void answer(const Json& json) {
  std::cout << json.dump() << '\n';
  std::cout.flush();
}

int serve(const std::function<Json(const Json&)>& work) {
  return guarded([&] {
    while (const auto request = next_request()) answer(work(*request));
  });
}

int guarded(const std::function<void()>& body) {
  try {
    body();
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}

}  // namespace headway::bench
