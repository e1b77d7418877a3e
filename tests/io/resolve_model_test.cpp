#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <headway/core/error.h>
#include <headway/io/model_files.h>

#include "io/golden.h"
#include "io/temporary.h"

namespace headway::io {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using test::put;
using test::TemporaryFolder;
using testing::AllOf;
using testing::HasSubstr;

// The variables of the environment that say where the cache is, set for a while; those not named are unset.
class Environment {
 public:
  explicit Environment(const std::map<std::string, std::string>& values) {
    for (const char* name : {"HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"}) {
      const char* old = std::getenv(name);
      before_[name] = old ? std::optional<std::string>(old) : std::nullopt;
      ::unsetenv(name);
    }
    for (const auto& [name, value] : values) ::setenv(name.c_str(), value.c_str(), 1);
  }
  ~Environment() {
    for (const auto& [name, value] : before_) {
      if (value) {
        ::setenv(name.c_str(), value->c_str(), 1);
      } else {
        ::unsetenv(name.c_str());
      }
    }
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  std::map<std::string, std::optional<std::string>> before_;
};

// A cache as the Hub's client lays it out, with the model org/name at commit "abc".
fs::path cache_in(const fs::path& cache) {
  const fs::path model = cache / "models--org--name";
  fs::create_directories(model / "refs/refs/pr");
  fs::create_directories(model / "snapshots/abc");
  fs::create_directories(model / "snapshots/def");
  fs::create_directories(model / "blobs");
  put(model / "refs/main", "abc");
  put(model / "refs/v2", "def\n");
  put(model / "refs/refs/pr/1", "def");
  put(model / "blobs/1", "weights");
  fs::create_symlink("../../blobs/1", model / "snapshots/abc/model.safetensors");
  return model / "snapshots";
}

TEST(ResolveModel, a_folder_or_file_is_itself) {
  const TemporaryFolder folder;
  put(folder / "m.gguf", "x");
  put(folder / "model.safetensors", "x");
  put(folder / "notes.txt", "x");
  EXPECT_EQ(resolve_model(folder.path()), folder.path());
  EXPECT_EQ(resolve_model(folder / "m.gguf"), folder / "m.gguf");
  EXPECT_EQ(resolve_model(folder / "model.safetensors"), folder.path());
  EXPECT_THAT(message_of([&] { resolve_model(folder / "notes.txt"); }), HasSubstr("another kind"));
  EXPECT_THROW(resolve_model(""), Error);
  EXPECT_THROW(resolve_model(std::string("a\0b", 3)), Error);
}

TEST(ResolveModel, the_cache_is_found_by_each_variable_in_its_order) {
  const TemporaryFolder a, b, c, d;
  const fs::path in_a = cache_in(a.path()), in_b = cache_in(b / "hub"),
                 in_c = cache_in(c / "huggingface/hub"), in_d = cache_in(d / ".cache/huggingface/hub");
  std::map<std::string, std::string> variables{
      {"HF_HUB_CACHE", a.path()}, {"HF_HOME", b.path()}, {"XDG_CACHE_HOME", c.path()}, {"HOME", d.path()}};
  const auto found = [&] {
    const Environment environment(variables);
    return resolve_model("org/name");
  };
  EXPECT_EQ(found(), in_a / "abc");
  variables.erase("HF_HUB_CACHE");
  EXPECT_EQ(found(), in_b / "abc");
  variables["HF_HOME"] = "";  // empty: as if not set
  EXPECT_EQ(found(), in_c / "abc");
  variables.erase("XDG_CACHE_HOME");
  EXPECT_EQ(found(), in_d / "abc");
  variables.clear();
  EXPECT_THAT(message_of([&] { found(); }), HasSubstr("HF_HUB_CACHE"));
}

TEST(ResolveModel, a_revision_is_a_name_or_a_commit) {
  const TemporaryFolder folder;
  const fs::path snapshots = cache_in(folder.path());
  const Environment environment({{"HF_HUB_CACHE", folder.path()}});
  EXPECT_EQ(resolve_model("org/name@v2"), snapshots / "def");
  EXPECT_EQ(resolve_model("org/name@refs/pr/1"), snapshots / "def");
  EXPECT_EQ(resolve_model("org/name@abc"), snapshots / "abc");
  EXPECT_TRUE(fs::is_regular_file(resolve_model("org/name") / "model.safetensors"));
  EXPECT_THAT(message_of([] { resolve_model("org/name@v3"); }),
              AllOf(HasSubstr("no snapshot \"v3\""), HasSubstr("hf download org/name --revision v3")));
}

TEST(ResolveModel, what_is_not_there_says_how_to_get_it) {
  const TemporaryFolder folder;
  cache_in(folder.path());
  const Environment environment({{"HF_HUB_CACHE", folder.path()}});
  EXPECT_THAT(message_of([] { resolve_model("other/model"); }), HasSubstr("hf download other/model"));
  for (const char* no_id :
       {"justname", "a/b/c", "../name", "org/..", "org/na--me", "org/x y", "/org/name", "org/name@../x"}) {
    EXPECT_THAT(message_of([&] { resolve_model(no_id); }), HasSubstr("does not exist")) << no_id;
  }
}

TEST(ResolveModel, a_folder_that_looks_like_a_hub_id_wins) {
  const TemporaryFolder folder;
  cache_in(folder.path());
  fs::create_directories(folder / "org/name");
  const Environment environment({{"HF_HUB_CACHE", folder.path()}});
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  EXPECT_EQ(resolve_model("org/name"), "org/name");
  fs::current_path(before);
}

TEST(ResolveModel, links_that_lead_nowhere_or_round_and_round_are_one_error) {
  const TemporaryFolder folder;
  fs::create_symlink("nowhere", folder / "dangling");
  fs::create_symlink("loop", folder / "loop");
  fs::create_symlink(folder.path(), folder / "good");
  EXPECT_EQ(resolve_model(folder / "good"), folder / "good");
  EXPECT_THAT(message_of([&] { resolve_model(folder / "dangling"); }), HasSubstr("leads nowhere"));
  EXPECT_THAT(message_of([&] { resolve_model(folder / "loop"); }), HasSubstr("leads nowhere"));
  fs::create_directory(folder / "closed");
  fs::permissions(folder / "closed", fs::perms::none);
  if (::geteuid() != 0) {  // nothing is closed to root
    EXPECT_THAT(message_of([&] { resolve_model(folder / "closed"); }), HasSubstr("cannot be read"));
  }
  fs::permissions(folder / "closed", fs::perms::owner_all);
}

TEST(ResolveModel, a_reference_that_leads_out_of_the_cache_is_refused) {
  const TemporaryFolder folder;
  cache_in(folder.path());
  put(folder / "models--org--name/refs/main", "../../..");
  const Environment environment({{"HF_HUB_CACHE", folder.path()}});
  EXPECT_THAT(message_of([] { resolve_model("org/name"); }), HasSubstr("no commit"));
}

}  // namespace
}  // namespace headway::io
