#include <gtest/gtest.h>

#include <fmt/format.h>

#include <headway/core/generator.h>
#include <headway/text/readers.h>

#include "text/expect_error.h"
#include "text/temporary_folder.h"

namespace headway::text {
namespace {

std::string page(const std::string& body) {
  return "<!DOCTYPE html><html><head><meta charset=utf-8><title>t</title></head><body>"
         "<header><p>LibreOffice Help</p></header><div id=\"DisplayArea\">" +
         body + "</div><footer><h3>debug</h3></footer></body></html>";
}

Pairs read_help(const std::string& source, const std::string& target, HelpCounts* counts = nullptr) {
  const TemporaryFolder folder;
  folder.write("en/text/a/1.html", page(source));
  folder.write("de/text/a/1.html", page(target));
  return read_libreoffice_help(folder / "en", folder / "de", {"en", "de"}, counts);
}

TEST(LibreOfficeHelp, pairs_paragraphs_and_headings_of_the_content_alone) {
  const Pairs pairs = read_help(
      "<h1 id=a>Navigator &amp; more</h1><p id=b>Click <span class=emph>OK</span>,\n then <a "
      "href=x>close</a>.</p>"
      "<pre><code>Print 1</code></pre><p class=code>x = 1</p>",
      "<h1 id=a>Navigator &amp; mehr</h1><p id=b>Klicken Sie auf <span>OK</span>, dann schlie&szlig;en.</p>"
      "<pre><code>Print 1</code></pre><p class=code>x = 1</p>");
  const Pairs want{{"Navigator & more", "Navigator & mehr", "text/a/1.html"},
                   {"Click OK, then close.", "Klicken Sie auf OK, dann schließen.", "text/a/1.html"}};
  EXPECT_EQ(pairs, want);
}

TEST(LibreOfficeHelp, splits_sentences_where_both_sides_have_equally_many) {
  HelpCounts counts;
  const Pairs pairs =
      read_help("<p id=a>One is here. Two, e.g. Three. Is it? “Yes.”</p><p id=b>One. Two.</p>",
                "<p id=a>Eins ist da. Zwei, z. B. Drei. Ist es so? „Ja.“</p><p id=b>Nur eins</p>", &counts);
  ASSERT_EQ(pairs.size(), 5u);
  EXPECT_EQ(pairs[0].target, "Eins ist da.");
  EXPECT_EQ(pairs[1].source, "Two, e.g. Three.");
  EXPECT_EQ(pairs[1].target, "Zwei, z. B. Drei.");
  EXPECT_EQ(pairs[3].source, "“Yes.”");
  EXPECT_EQ(pairs[3].target, "„Ja.“");
  EXPECT_EQ(pairs[4].source, "One. Two.");
  EXPECT_EQ(pairs[4].target, "Nur eins");
  EXPECT_EQ(counts.split_paragraphs, 1);
  EXPECT_EQ(counts.whole_paragraphs, 1);
}

TEST(LibreOfficeHelp, pairs_a_sorted_glossary_by_its_paragraph_ids) {
  HelpCounts counts;
  const Pairs pairs = read_help("<p id=a>apple</p><p id=b>bear</p><p id=c>only here</p>",
                                "<p id=b>Bär</p><p id=a>Zapfel</p><p id=d>nur hier</p>", &counts);
  ASSERT_EQ(pairs.size(), 2u);
  EXPECT_EQ(pairs[0].target, "Zapfel");
  EXPECT_EQ(pairs[1].target, "Bär");
  EXPECT_EQ(counts.reordered_pages, 1);
  EXPECT_EQ(counts.unpaired, 1);
}

TEST(LibreOfficeHelp, reads_one_alternative_of_a_switch) {
  const std::string mac =
      "<span class=switchinline><span hidden=true class=MAC>Command</span><span>Ctrl</span></span>";
  const std::string module =
      "<span class=switchinline><span hidden=true class=DRAW>page</span><span "
      "hidden=true>slide</span></span>";
  const Pairs pairs =
      read_help("<p id=a>Press " + mac + "+C on the " + module + ".</p>", "<p id=a>Drücken.</p>");
  ASSERT_EQ(pairs.size(), 1u);
  EXPECT_EQ(pairs[0].source, "Press Ctrl+C on the page.");
}

TEST(LibreOfficeHelp, survives_any_damage_to_a_page) {
  const std::string good =
      page("<h1 id=a>Navigator</h1><div><p id=b>Click <span class=emph>OK</span>.<br>Done.</p></div>");
  Generator generator(3);
  for (int round = 0; round < 120; ++round) {
    std::string bad = good.substr(0, round % 3 == 0 ? generator.below(good.size()) : good.size());
    for (int i = 0; i < round % 5 && !bad.empty(); ++i) {
      bad[generator.below(bad.size())] = static_cast<char>(generator.below(127) + 1);
    }
    const TemporaryFolder folder;
    folder.write("en/text/1.html", bad);
    folder.write("de/text/1.html", good);
    EXPECT_LE(read_libreoffice_help(folder / "en", folder / "de", {"en", "de"}).size(), 3u);
  }
}

TEST(LibreOfficeHelp, of_something_else_is_a_clear_error) {
  const TemporaryFolder folder;
  folder.write("en/text/1.html", page("<p>x</p>"));
  folder.write("de/text/2.html", page("<p>x</p>"));
  folder.write("bad/text/1.html", page("<p>\xC3(</p>"));
  expect_error(ErrorCode::format, "no page in common", [&] {
    read_libreoffice_help(folder / "en", folder / "de", {"en", "de"});
  });
  expect_error(ErrorCode::io, "no folder text/",
               [&] { read_libreoffice_help(folder / "x", folder / "de", {}); });
  expect_error(ErrorCode::format, "not valid UTF-8", [&] {
    read_libreoffice_help(folder / "en", folder / "bad", {"en", "de"});
  });
}

TEST(Tsv, gives_the_chosen_columns_and_documents) {
  const TemporaryFolder folder;
  const auto file = folder.write("a.tsv", "\xEF\xBB\xBFid\ten\tde\n1\tone\teins\r\n2\ttwo\tzwei");
  const Pairs want{{"one", "eins", "1"}, {"two", "zwei", "2"}};
  EXPECT_EQ(read_tsv(file, {.source_column = 1, .target_column = 2, .document_column = 0, .header = true}),
            want);
}

TEST(Tsv, of_bad_content_names_file_line_and_byte) {
  const TemporaryFolder folder;
  const auto read = [&](const std::string& content) {
    return [&folder, content] { read_tsv(folder.write("a.tsv", content), {.max_line_bytes = 100}); };
  };
  expect_error(ErrorCode::format, "a.tsv, line 2, has 1 columns; want 2, separated by tabs",
               read("a\tb\nc\n"));
  expect_error(ErrorCode::format, "line 2, has byte 0xFE at position 2", read("a\tb\nc\t\xFE\n"));
  expect_error(ErrorCode::format, "line 1, has a NUL at position 1", read(std::string("a\0\tb\n", 5)));
  expect_error(ErrorCode::format, "line 1, is 201 bytes long; want at most 100",
               read(fmt::format("{}\t\n", std::string(200, 'x'))));
  expect_error(ErrorCode::io, "cannot be opened", [&] { read_tsv(folder / "none.tsv"); });
  expect_error(ErrorCode::io, "is a folder", [&] { read_tsv(folder.path()); });
  expect_error(ErrorCode::value, "columns", [&] { read_tsv(folder / "a.tsv", {.source_column = -1}); });
}

TEST(Tsv, refuses_or_skips_lines_with_other_columns_and_counts_them) {
  const TemporaryFolder folder;
  const auto file = folder.write("a.tsv", "one\teins\ntwo\tzwei\tmore\nthree\nfour\tvier\n");
  expect_error(ErrorCode::format, "a.tsv, line 2, has 3 columns; want 2", [&] { read_tsv(file); });
  TableCounts counts;
  EXPECT_EQ(read_tsv(file, {.bad_lines = BadLines::skip}, &counts).size(), 2u);
  EXPECT_EQ(counts.wrong_columns, 2);
  EXPECT_EQ(read_tsv(file, {.columns = 3, .bad_lines = BadLines::skip})[0].target, "zwei");
  expect_error(ErrorCode::value, "columns is 1", [&] { read_tsv(file, {.columns = 1}); });
}

TEST(Tsv, refuses_or_skips_blank_sides_where_text_is_wanted) {
  const TemporaryFolder folder;
  const auto file = folder.write("a.tsv", "one\teins\n\tzwei\nthree\t\u3000\u00a0\n");
  EXPECT_EQ(read_tsv(file).size(), 3u);  // clean() drops and counts them
  expect_error(ErrorCode::format, "line 2, has a blank source",
               [&] { read_tsv(file, {.blank_sides = BlankSides::refuse}); });
  TableCounts counts;
  const TableOptions skip{.blank_sides = BlankSides::refuse, .bad_lines = BadLines::skip};
  EXPECT_EQ(read_tsv(file, skip, &counts).size(), 1u);
  EXPECT_EQ(counts.blank_sides, 2);
}

TEST(Tsv, of_damaged_content_is_read_or_refused_but_never_crashes) {
  const TemporaryFolder folder;
  Generator generator(5);
  int refused = 0;
  for (int round = 0; round < 200; ++round) {
    std::string content = "one\teins\ntwo\tzwei größer\n";
    content[generator.below(content.size())] = static_cast<char>(generator.below(256));
    try {
      read_tsv(folder.write("a.tsv", content));
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused,
            50);  // over half of all bytes are no ASCII, and those make invalid UTF-8 nearly everywhere
}

TEST(ParallelFiles, are_paired_line_by_line_and_must_be_equally_long) {
  const TemporaryFolder folder;
  const auto a = folder.write("a", "one\ntwo\n");
  const auto b = folder.write("b", "eins\nzwei\n");
  const auto c = folder.write("c", "eins\n");
  const Pairs pairs = read_parallel(a, b);
  ASSERT_EQ(pairs.size(), 2u);
  EXPECT_EQ(pairs[1].target, "zwei");
  EXPECT_EQ(pairs[0].document, pairs[1].document);
  expect_error(ErrorCode::format, "2 lines", [&] { read_parallel(a, c); });
}

TEST(Dictionary, gives_example_sentences_without_grammar) {
  const TemporaryFolder folder;
  const auto file = folder.write(
      "de-en",
      "# a comment\n"
      "Haus {n} | Häuser {pl} | Das Haus ist groß. [ugs.] :: house | houses | The house (here) is big.\n"
      "Er kam {v} | Wir gehen jetzt. :: he came | We go now.; We leave now.\n"
      "A | Das ist gut so. :: a\n");
  const Pairs want{{"The house is big.", "Das Haus ist groß.", "line 2"},
                   {"We go now.", "Wir gehen jetzt.", "line 3"}};
  EXPECT_EQ(read_dictionary(file), want);
  EXPECT_EQ(read_dictionary(file, false)[0].source, "Das Haus ist groß.");
  expect_error(ErrorCode::format, "want a Ding dictionary",
               [&] { read_dictionary(folder.write("x", "nothing\n")); });
}

TEST(Bibles, are_paired_by_verse_without_notes_and_titles) {
  const TemporaryFolder folder;
  const auto a =
      folder.write("a",
                   "$$$Genesis 1:0\nIntro\n$$$Genesis 1:1\n<title>Creation</title>In the "
                   "beginning<note>a note</note>, <w lemma=\"x\">God</w>\n$$$Genesis 1:3\nLight\n");
  const auto b = folder.write(
      "b", "$$$Genesis 1:0\nIntro\n$$$Genesis 1:1\nEN el principio &amp; Dios\n$$$Genesis 1:2\nx\n");
  const Pairs want{{"In the beginning, God", "EN el principio & Dios", "Genesis 1"}};
  EXPECT_EQ(read_bibles(a, b), want);
  expect_error(ErrorCode::format, "begins with text", [&] { read_bibles(a, folder.write("c", "words\n")); });
}

}  // namespace
}  // namespace headway::text
