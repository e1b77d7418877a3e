#include <headway/io/idx.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <headway/core/error.h>

#include "io/golden.h"
#include "io/temporary.h"

namespace headway::io {
namespace {

using test::from_hex;
using test::message_of;
using test::put;
using test::TemporaryFolder;
using testing::HasSubstr;

// [2, 3] of 1 … 6.
const std::string kPlain = from_hex("000008020000000200000003010203040506");
// The same by gzip -n.
const std::string kPacked =
    from_hex("1f8b08000000000002036360e0606260600061664626661656360048943ee512000000");

IdxArray read(const std::string& bytes) {
  const TemporaryFolder folder;
  put(folder / "f", bytes);
  return read_idx(folder / "f");
}

TEST(ReadIdx, gives_the_bytes_plain_or_gzipped) {
  for (const std::string& file : {kPlain, kPacked}) {
    const IdxArray array = read(file);
    EXPECT_EQ(array.shape, (Shape{2, 3}));
    EXPECT_EQ(array.values, (std::vector<std::uint8_t>{1, 2, 3, 4, 5, 6}));
  }
}

TEST(ReadIdx, what_is_damaged_is_named) {
  const auto refusal = [](const std::string& bytes) { return message_of([&] { read(bytes); }); };
  EXPECT_THAT(refusal(kPlain + "x"), HasSubstr("has 7 bytes of data"));
  EXPECT_THAT(refusal(from_hex("00000d0100000001")), HasSubstr("type 0xd"));
  EXPECT_THAT(refusal(from_hex("000008ff")), HasSubstr("255 dimensions"));
  EXPECT_THAT(refusal(from_hex("00000803ffffffffffffffffffffffff")), HasSubstr("shape"));
  EXPECT_THAT(refusal("PNG"), HasSubstr("does not begin"));
  std::string broken = kPacked;
  broken[broken.size() - 7] ^= 1;
  EXPECT_THAT(refusal(broken), HasSubstr("checksum"));
  broken = kPacked;
  broken.back() = '\x7f';
  EXPECT_THAT(refusal(broken), HasSubstr("at most"));
  for (std::size_t length = 0; length < kPacked.size(); ++length)
    EXPECT_THROW(read(kPacked.substr(0, length)), Error);
}

}  // namespace
}  // namespace headway::io
