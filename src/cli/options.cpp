#include "cli/options.h"

#include <algorithm>

namespace headway::cli {
namespace {

// Follows an argument whose end CLI11 might read as syntax. An argument that ends in it gets a second one.
constexpr char kMark = '\x1F';

}  // namespace

std::vector<std::string> spell_arguments(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  const bool ends_open = !arguments.empty() && arguments.back() == "--";
  if (ends_open && std::find(arguments.begin(), arguments.end(), "--") == arguments.end() - 1)
    arguments.emplace_back("--");
  for (std::string& argument : arguments) {
    if (!argument.empty() && std::string_view("]}%\x1F").find(argument.back()) != std::string_view::npos)
      argument += kMark;
  }
  return arguments;
}

std::string unspell(std::string_view argument) {
  if (argument.ends_with(kMark)) argument.remove_suffix(1);
  return std::string(argument);
}

void read_verbatim(CLI::App& app) {
  const CLI::Validator undo(
      [](std::string& argument) {
        argument = unspell(argument);
        return std::string();
      },
      "");
  for (CLI::Option* option : app.get_options()) {
    if (option->get_expected_max() <= 1) option->transform(undo);  // add_texts() undoes it itself
  }
  for (CLI::App* command : app.get_subcommands({})) read_verbatim(*command);
}

CLI::Option* add_texts(CLI::App& app, const std::string& names, std::vector<std::string>& values,
                       const std::string& help) {
  const CLI::callback_t read = [&values](const CLI::results_t& given) {
    values.clear();
    for (const std::string& argument : given) values.push_back(unspell(argument));
    return true;
  };
  return app.add_option(names, read, help)
      ->type_name("TEXT")
      ->expected(1, CLI::detail::expected_max_vector_size)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args();
}

}  // namespace headway::cli
