#include <headway/io/atomic_file.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <headway/core/error.h>
#include <headway/core/generator.h>

#include "io/json.h"
#include "io/temporary.h"

namespace headway::io {
namespace {

namespace fs = std::filesystem;
using test::get;
using test::put;
using test::TemporaryFolder;
using testing::HasSubstr;

std::size_t entries(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

template <typename Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(AtomicFile, keeps_the_old_file_until_it_is_committed) {
  const TemporaryFolder folder;
  put(folder / "f", "old");
  {
    AtomicFile file(folder / "f");
    file.write("new");
    EXPECT_EQ(get(folder / "f"), "old");
    file.commit();
  }
  EXPECT_EQ(get(folder / "f"), "new");
  EXPECT_EQ(entries(folder.path()), 1u);
}

TEST(AtomicFile, leaves_nothing_behind_when_it_is_given_up) {
  const TemporaryFolder folder;
  { AtomicFile(folder / "f").write("half"); }
  EXPECT_EQ(entries(folder.path()), 0u);
}

TEST(AtomicFile, names_the_file_it_cannot_write) {
  const TemporaryFolder folder;
  EXPECT_THAT(message_of([&] { write_file(folder / "no/f", "x"); }), HasSubstr("no/f: No such file"));
  EXPECT_THROW(write_file("", "x"), Error);
}

TEST(AtomicFolder, appears_whole_or_not_at_all) {
  const TemporaryFolder folder;
  {
    AtomicFolder given_up(folder / "d");
    put(given_up.path() / "a", "1");
    EXPECT_FALSE(fs::exists(folder / "d"));
  }
  EXPECT_EQ(entries(folder.path()), 0u);
  AtomicFolder kept(folder / "d");
  put(kept.path() / "a", "1");
  kept.commit();
  EXPECT_EQ(get(folder / "d/a"), "1");
}

TEST(AtomicFolder, does_not_replace_a_folder) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "d");
  put(folder / "d/a", "1");
  AtomicFolder second(folder / "d");
  put(second.path() / "b", "2");
  EXPECT_THAT(message_of([&] { second.commit(); }), HasSubstr("exists"));
  EXPECT_FALSE(fs::exists(folder / "d/b"));
}

TEST(AtomicFolder, leftovers_of_a_killed_write_are_removed_and_other_files_stay) {
  const TemporaryFolder folder;
  fs::create_directory(folder / ".step-3.partial-1-0");
  put(folder / ".step-3.partial-1-0/model", "half");
  put(folder / ".LATEST.partial-1-1", "half");
  put(folder / ".hidden", "mine");
  remove_leftovers(folder.path());
  EXPECT_EQ(entries(folder.path()), 1u);
  EXPECT_EQ(get(folder / ".hidden"), "mine");
}

TEST(ReadFile, refuses_what_is_longer_than_the_limit) {
  const TemporaryFolder folder;
  put(folder / "f", std::string(100, 'x'));
  EXPECT_EQ(read_file(folder / "f", 100).size(), 100u);
  EXPECT_THAT(message_of([&] { read_file(folder / "f", 99); }), HasSubstr("longer than 99"));
  EXPECT_THROW(read_file(folder / "none"), Error);
  EXPECT_THROW(read_file(folder.path()), Error);
}

TEST(JsonFile, comes_back_with_the_same_numbers) {
  const TemporaryFolder folder;
  const double tenth = 0.1 + 1e-17, tiny = 4.9e-324;
  write_json(folder / "c.json", {{"a", tenth}, {"b", tiny}, {"seed", ~std::uint64_t{0}}, {"n", {1, 2}}});
  const Json json = read_json(folder / "c.json");
  Fields fields(json, "c.json");
  EXPECT_EQ(fields.get<double>("a"), tenth);
  EXPECT_EQ(fields.get<double>("b"), tiny);
  EXPECT_EQ(fields.get<std::uint64_t>("seed"), ~std::uint64_t{0});
  EXPECT_EQ(fields.get<std::vector<int>>("n"), (std::vector<int>{1, 2}));
  EXPECT_NO_THROW(fields.finish());
}

TEST(JsonFile, each_wrong_type_is_named) {
  const Json json = parse_json(R"({"format_version":9,"n":-1,"big":300,"t":"x","f":1.5,"l":[1,"a"]})", "it");
  Fields fields(json, "c.json");
  EXPECT_THAT(message_of([&] { fields.version(2); }), HasSubstr("reads 1 to 2"));
  EXPECT_THAT(message_of([&] { fields.get<std::uint32_t>("n"); }), HasSubstr("out of range"));
  EXPECT_THAT(message_of([&] { fields.get<std::int8_t>("big"); }), HasSubstr("out of range"));
  EXPECT_THAT(message_of([&] { fields.get<int>("t"); }),
              HasSubstr("c.json has string for \"t\"; want an integer"));
  EXPECT_THAT(message_of([&] { fields.get<int>("f"); }), HasSubstr("want an integer"));
  EXPECT_THAT(message_of([&] { fields.get<bool>("n"); }), HasSubstr("true or false"));
  EXPECT_THAT(message_of([&] { fields.get<std::string>("n"); }), HasSubstr("want a text"));
  EXPECT_THAT(message_of([&] { fields.get<std::vector<int>>("l"); }), HasSubstr("want an integer"));
  EXPECT_THAT(message_of([&] { fields.get<int>("missing"); }), HasSubstr("no \"missing\""));
  EXPECT_EQ(fields.get<int>("missing", 4), 4);
}

TEST(JsonFile, unknown_keys_are_errors) {
  const Json json = parse_json(R"({"known":1,"knwon":2})", "it");
  Fields fields(json, "c.json");
  fields.get<int>("known");
  EXPECT_THAT(message_of([&] { fields.finish(); }), HasSubstr("unknown key \"knwon\""));
}

TEST(JsonFile, malformed_text_is_an_error_at_every_cut_and_flip) {
  const std::string whole = R"({"format_version": 1, "text": "ä", "list": [1, 2.5e3, null, true]})";
  EXPECT_NO_THROW(parse_json(whole, "it"));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_THROW(parse_json(whole.substr(0, length), "it"), Error) << length;
  }
  Generator generator(5);
  for (int i = 0; i < 300; ++i) {
    std::string broken = whole;
    broken[generator.below(broken.size())] ^= static_cast<char>(1 << generator.below(8));
    try {
      parse_json(broken, "it");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::format);
    }
  }
  EXPECT_THAT(message_of([] { parse_json(R"({"a":{"b":1,"b":2}})", "it"); }), HasSubstr("\"b\" twice"));
  EXPECT_THAT(message_of([] { parse_json(std::string(100000, '['), "it"); }), HasSubstr("nested"));
  EXPECT_THAT(message_of([] { parse_json(std::string("{}\0{", 4), "it"); }), HasSubstr("NUL at byte 2"));
  EXPECT_THAT(message_of([] { parse_json("[1e999]", "it"); }), HasSubstr("out of range"));
}

}  // namespace
}  // namespace headway::io
