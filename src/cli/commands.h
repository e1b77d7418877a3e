#pragma once
#include <CLI/CLI.hpp>

// One function per subcommand of the program. Each adds its options to `app`; what it was asked to do runs as
// the subcommand's callback and throws headway::Error.
namespace headway::cli {

void add_prepare_command(CLI::App& app);
void add_train_command(CLI::App& app);
void add_translate_command(CLI::App& app);
void add_evaluate_command(CLI::App& app);
void add_generate_command(CLI::App& app);
void add_chat_command(CLI::App& app);
void add_perplexity_command(CLI::App& app);
void add_embed_command(CLI::App& app);
void add_search_command(CLI::App& app);
void add_classify_command(CLI::App& app);
void add_export_command(CLI::App& app);
void add_inspect_command(CLI::App& app);
void add_compare_command(CLI::App& app);
void add_cost_command(CLI::App& app);
void add_explain_command(CLI::App& app);
void add_info_command(CLI::App& app);

}  // namespace headway::cli
