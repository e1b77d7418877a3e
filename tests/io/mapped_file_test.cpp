#include <headway/io/mapped_file.h>

#include <sys/stat.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <headway/core/error.h>

#include "io/golden.h"
#include "io/temporary.h"

namespace headway::io {
namespace {

using test::message_of;
using test::put;
using test::TemporaryFolder;
using testing::HasSubstr;

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(MappedFile, gives_the_bytes_and_refuses_those_beyond_the_end) {
  const TemporaryFolder folder;
  put(folder / "f", "0123456789");
  const MappedFile file(folder / "f");
  EXPECT_EQ(file.size(), 10u);
  EXPECT_EQ(text_of(file.bytes(3, 4)), "3456");
  EXPECT_EQ(file.bytes(10, 0).size(), 0u);
  EXPECT_THROW(file.bytes(3, 8), Error);
  EXPECT_THROW(file.bytes(11, 0), Error);
  EXPECT_THROW(file.bytes(~std::uint64_t{0}, 2), Error);
  EXPECT_THROW(file.bytes(2, ~std::uint64_t{0}), Error);
}

TEST(MappedFile, what_was_dropped_can_be_read_again) {
  const TemporaryFolder folder;
  const std::string text(20000, 'x');
  put(folder / "f", "a" + text + "b");
  const MappedFile file(folder / "f");
  file.drop(0, file.size());
  file.drop(5000, 1);
  file.drop(7, ~std::uint64_t{0});
  EXPECT_EQ(text_of(file.bytes(0, file.size())), "a" + text + "b");
}

TEST(MappedFile, a_file_that_was_cut_is_an_error_and_no_signal) {
  const TemporaryFolder folder;
  put(folder / "f", std::string(10000, 'x'));
  const MappedFile file(folder / "f");
  std::filesystem::resize_file(folder / "f", 5000);
  EXPECT_EQ(file.bytes(0, 5000).size(), 5000u);
  EXPECT_THAT(message_of([&] { file.bytes(4000, 5000); }), HasSubstr("had 10000 bytes"));
}

TEST(MappedFile, an_empty_file_has_no_bytes) {
  const TemporaryFolder folder;
  put(folder / "f", "");
  const MappedFile file(folder / "f");
  EXPECT_EQ(file.bytes(0, 0).size(), 0u);
  EXPECT_THROW(file.bytes(0, 1), Error);
}

TEST(MappedFile, what_is_no_regular_file_is_refused_by_name) {
  const TemporaryFolder folder;
  EXPECT_THAT(message_of([&] { MappedFile(folder / "none"); }), HasSubstr("none: No such file"));
  EXPECT_THAT(message_of([&] { MappedFile{folder.path()}; }), HasSubstr("is a folder"));
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(message_of([&] { MappedFile(folder / "pipe"); }), HasSubstr("device or pipe"));
}

}  // namespace
}  // namespace headway::io
