#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include <headway/core/error.h>
#include <headway/text/bleu.h>
#include <headway/text/prepared.h>
#include <headway/text/readers.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/packages.h"

namespace headway::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct Options {
  std::string source, target, out;
  std::string first_file, second_file;
  std::string source_package, target_package;
  std::string cache = default_cache().string();
  text::CleanOptions clean;
  text::SplitOptions split;
  text::TableOptions table;
  std::string licence = "unknown";
  bool json = false;
  Clock::time_point begin;
};

void say(const Options& options, const std::string& line) {
  if (!options.json) put("{}\n", line);
  flush_out();
}

// Cleaning, splitting, writing and the summary, the same for every kind of corpus.
void finish(const Options& options, const text::Pairs& raw, text::CorpusInfo info) {
  info.source_language = options.source;
  info.target_language = options.target;
  info.clean = options.clean;
  info.split = options.split;
  say(options, fmt::format("clean     {} pairs", raw.size()));
  const text::Pairs pairs = text::clean(raw, options.clean, &info.cleaned);
  const text::CleanCounts& gone = info.cleaned;
  say(options,
      fmt::format(
          "dropped   {} without a letter on a side, {} too long, {} of unlike length, {} untranslated",
          gone.empty, gone.too_long, gone.bad_ratio, gone.untranslated));
  say(options, fmt::format("split     {} pairs, by documents", pairs.size()));
  const text::Split split = text::split_by_document(pairs, options.split);
  if (split.train.empty()) {
    fail(ErrorCode::value, "prepare",
         "nothing is left to train on; want more text, or smaller held-out shares");
  }
  text::write_corpus(options.out, split, info);
  text::Interval copy;
  double copy_score = 0;
  if (!split.test.empty()) {
    text::References references(1);
    for (const auto& pair : split.test) references[0].push_back(pair.target);
    const auto counts = text::bleu_counts(text::nearest_copy_baseline(split.train, split.test), references);
    text::BleuCounts total;
    for (const auto& sentence : counts) total += sentence;
    copy_score = text::bleu_score(total).score;
    copy = text::bleu_interval(counts);
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - options.begin).count();
  if (options.json) {
    const nlohmann::ordered_json summary{
        {"folder", options.out},
        {"train", split.train.size()},
        {"valid", split.valid.size()},
        {"test", split.test.size()},
        {"nearest_copy_bleu", {{"score", copy_score}, {"low", copy.low}, {"high", copy.high}}},
        {"seconds", seconds}};
    put_json(summary);
    return;
  }
  put("held out  {} + {} documents; dropped from them: {} pairs seen in training, {} at least {} similar,\n"
      "          {} with equal sides\n",
      split.valid_documents.size(), split.test_documents.size(), split.seen, split.similar,
      options.split.max_similarity, split.identical);
  put("corpus    {}: {} train, {} valid, {} test pairs ({:.1f} s)\n", options.out, split.train.size(),
      split.valid.size(), split.test.size(), seconds);
  if (!split.test.empty()) {
    put("copying the translation of the nearest training sentence: BLEU {:.2f} ± {:.2f}\n", copy_score,
        copy.half_width());
  }
}

text::CorpusInfo info_of(const std::string& name, const std::string& licence,
                         const std::vector<Package>& packages) {
  text::CorpusInfo info;
  info.name = name;
  info.licence = licence;
  for (const Package& package : packages) info.packages.emplace_back(package.name, package.version);
  return info;
}

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c); });
  return text;
}

void check_language(const std::string& language) {
  const bool good = !language.empty() && std::all_of(language.begin(), language.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
  });
  if (!good) {
    fail(ErrorCode::value, "prepare",
         fmt::format("language is {}; want a code such as de or en-US", quoted(language)));
  }
}

Package help_package(const std::string& language, const std::string& file, const Options& options) {
  if (!file.empty()) return open_package(file, options.cache);
  check_language(language);
  return fetch_package("libreoffice-help-" + lower_case(language), options.cache);
}

// .../help/<language>/text, whatever the case of the language in the folder's name.
fs::path help_root(const Package& package) {
  for (const char* base : {"usr/share/libreoffice/help", "usr/lib/libreoffice/help"}) {
    std::error_code code;
    for (const auto& entry : fs::directory_iterator(package.root / base, code)) {
      if (fs::is_directory(entry.path() / "text")) return entry.path();
    }
  }
  fail(ErrorCode::format, "prepare",
       fmt::format("package {} has no libreoffice/help/<language>/text; want libreoffice-help-…",
                   package.name));
}

void prepare_libreoffice(const Options& options) {
  say(options, fmt::format("fetch     libreoffice-help-{}, libreoffice-help-{}", lower_case(options.source),
                           lower_case(options.target)));
  const Package source = help_package(options.source, options.source_package, options);
  const Package target = help_package(options.target, options.target_package, options);
  say(options, fmt::format("read      {} {} and {}", source.name, source.version, target.name));
  text::HelpCounts counts;
  const auto pairs = text::read_libreoffice_help(
      help_root(source), help_root(target),
      {lower_case(options.source.substr(0, 2)), lower_case(options.target.substr(0, 2))}, &counts);
  say(options, fmt::format("          {} pages, {} paragraphs", counts.pages, counts.paragraphs));
  finish(options, pairs, info_of("LibreOffice help", "MPL-2.0", {source, target}));
}

void prepare_dictionary(const Options& options) {
  if (options.source != "en" && options.source != "de") {
    fail(ErrorCode::value, "prepare dictionary",
         fmt::format("source is {}; want en or de", quoted(options.source)));
  }
  text::CorpusInfo info = info_of("Ding dictionary, example sentences", "GPL-2+", {});
  fs::path file = options.first_file;
  if (file.empty()) {
    const Package package = fetch_package("trans-de-en", options.cache);
    info.packages.emplace_back(package.name, package.version);
    file = package.root / "usr/share/trans/de-en";
  }
  finish(options, text::read_dictionary(file, options.source == "en"), info);
}

// Prints a SWORD module to a text file beside the package and gives its path.
fs::path bible_text(const Package& package) {
  const fs::path sword = package.root / "usr/share/sword";
  std::string module;
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(sword / "mods.d", code))
    module = entry.path().stem().string();
  if (module.empty()) {
    fail(ErrorCode::format, "prepare bible", fmt::format("package {} has no SWORD module", package.name));
  }
  const fs::path file = package.root / (module + ".imp");
  const std::string script = "SWORD_PATH=" + sword.string();
  const std::string verses = run_program({"env", script, "mod2imp", module}, package.root);
  FILE* out = std::fopen(file.c_str(), "wb");
  const bool written = out != nullptr && std::fwrite(verses.data(), 1, verses.size(), out) == verses.size();
  if (out == nullptr || std::fclose(out) != 0 || !written) {
    fail(ErrorCode::io, "prepare bible", fmt::format("{} cannot be written", file.string()));
  }
  return file;
}

void prepare_bible(const Options& options) {
  if (!options.first_file.empty()) {
    finish(options, text::read_bibles(options.first_file, options.second_file),
           info_of("SWORD Bibles", options.licence, {}));
    return;
  }
  if (options.source_package.empty() || options.target_package.empty()) {
    fail(ErrorCode::value, "prepare bible",
         "packages are missing; want --source-package and --target-package");
  }
  const auto get = [&](const std::string& name) {
    return name.ends_with(".deb") ? open_package(name, options.cache) : fetch_package(name, options.cache);
  };
  const Package source = get(options.source_package);
  const Package target = get(options.target_package);
  finish(options, text::read_bibles(bible_text(source), bible_text(target)),
         info_of("SWORD Bibles", options.licence, {source, target}));
}

CLI::App* add_kind(CLI::App& prepare, const std::shared_ptr<Options>& options, const std::string& name,
                   const std::string& description) {
  CLI::App* app = prepare.add_subcommand(name, description);
  app->add_option("--out", options->out, "folder to write; a prepared corpus there is replaced")->required();
  add_number(*app, "--max-words", options->clean.max_words, whole(1), "longest sentence, either side");
  add_number(*app, "--max-ratio", options->clean.max_length_ratio, {.low = 1}, "longest side over shortest");
  add_number(*app, "--test-share", options->split.test, share(), "share of documents for testing");
  add_number(*app, "--valid-share", options->split.valid, share(), "share for validation");
  add_number(*app, "--max-similarity", options->split.max_similarity, above_zero(),
             "held-out sentences this similar to a training sentence are dropped; above 1: none");
  app->add_option("--salt", options->split.salt, "another salt, another split");
  app->add_option("--cache", options->cache, "where packages are kept")->capture_default_str();
  app->add_flag("--json", options->json, "print one JSON object");
  return app;
}

void add_languages(CLI::App* app, const std::shared_ptr<Options>& options) {
  app->add_option("--source", options->source, "source language, such as en-US")->required();
  app->add_option("--target", options->target, "target language, such as de")->required();
}

void add_skip_bad(CLI::App* app, const std::shared_ptr<Options>& options) {
  app->add_flag_callback(
      "--skip-bad", [options] { options->table.bad_lines = text::BadLines::skip; },
      "skip lines with other columns, and say how many");
}

void say_skipped(const Options& options, const text::TableCounts& counts) {
  if (counts.wrong_columns > 0)
    say(options, fmt::format("skipped   {} lines with other columns", counts.wrong_columns));
}

template <typename Run>
void on_parse(CLI::App* app, const std::shared_ptr<Options>& options, Run run) {
  app->callback([options, run] {
    options->begin = Clock::now();
    run(*options);
  });
}

}  // namespace

void add_prepare_command(CLI::App& app) {
  CLI::App* prepare = app.add_subcommand("prepare", "Make a corpus: training, validation and test pairs");
  prepare->require_subcommand(1);
  const auto options = std::make_shared<Options>();

  CLI::App* help =
      add_kind(*prepare, options, "libreoffice", "LibreOffice's help in two languages (Debian packages)");
  add_languages(help, options);
  help->add_option("--source-package", options->source_package, "a .deb file instead of a download");
  help->add_option("--target-package", options->target_package, "a .deb file instead of a download");
  on_parse(help, options, prepare_libreoffice);

  CLI::App* tsv = add_kind(*prepare, options, "tsv", "a table of pairs, columns separated by tabs");
  add_languages(tsv, options);
  tsv->add_option("file", options->first_file, "the table")->required();
  const Range column = whole(0, text::kMaxColumns - 1);
  add_number(*tsv, "--source-column", options->table.source_column, column, "counted from 0");
  add_number(*tsv, "--target-column", options->table.target_column, column, "counted from 0");
  add_number(*tsv, "--document-column", options->table.document_column, whole(-1, text::kMaxColumns - 1),
             "-1: 20 lines each");
  add_number(*tsv, "--columns", options->table.columns, whole(1, text::kMaxColumns),
             "of every line (default: up to the last of those above)");
  tsv->add_flag("--header", options->table.header, "skip the first line");
  add_skip_bad(tsv, options);
  tsv->add_option("--licence", options->licence, "recorded in corpus.json");
  on_parse(tsv, options, [](const Options& o) {
    text::TableCounts counts;
    const text::Pairs pairs = text::read_tsv(o.first_file, o.table, &counts);
    say_skipped(o, counts);
    finish(o, pairs, info_of(o.first_file, o.licence, {}));
  });

  CLI::App* parallel = add_kind(*prepare, options, "parallel", "two files, line i translates line i");
  add_languages(parallel, options);
  parallel->add_option("source_file", options->first_file, "one sentence a line")->required();
  parallel->add_option("target_file", options->second_file, "as many lines")->required();
  parallel->add_option("--licence", options->licence, "recorded in corpus.json");
  on_parse(parallel, options, [](const Options& o) {
    finish(o, text::read_parallel(o.first_file, o.second_file, o.table),
           info_of(o.first_file + " " + o.second_file, o.licence, {}));
  });

  CLI::App* dictionary =
      add_kind(*prepare, options, "dictionary", "example sentences of Debian's trans-de-en");
  add_languages(dictionary, options);
  dictionary->add_option("--file", options->first_file, "a Ding dictionary instead of a download");
  on_parse(dictionary, options, prepare_dictionary);

  CLI::App* bible = add_kind(*prepare, options, "bible", "two SWORD Bibles (mod2imp is in libsword-utils)");
  add_languages(bible, options);
  bible->add_option("--source-package", options->source_package,
                    "package name or .deb file, such as sword-text-web");
  bible->add_option("--target-package", options->target_package,
                    "such as sword-text-sparv, which is Spanish");
  auto* first = bible->add_option("--source-file", options->first_file, "what mod2imp printed");
  auto* second = bible->add_option("--target-file", options->second_file, "what mod2imp printed");
  first->needs(second);
  second->needs(first);
  bible->add_option("--licence", options->licence, "recorded in corpus.json");
  on_parse(bible, options, prepare_bible);
}

}  // namespace headway::cli
