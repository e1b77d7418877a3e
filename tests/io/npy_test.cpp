#include <headway/io/npy.h>

#include <cstring>
#include <filesystem>

#include <gtest/gtest.h>

#include <headway/core/error.h>
#include <headway/core/factory.h>
#include <headway/io/atomic_file.h>

namespace headway {
namespace {

TEST(Npy, a_header_of_64_bytes_and_the_rows) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "headway-rows.npy";
  struct Case {
    Shape shape;
    std::string text;
  };
  for (const auto& [shape, text] : {Case{{2, 3}, "(2, 3)"}, Case{{5}, "(5, )"}, Case{{0, 4}, "(0, 4)"}}) {
    std::vector<float> values;
    for (std::int64_t i = 0; i < shape.numel(); ++i) values.push_back(0.1F * static_cast<float>(i));
    io::save_npy(path, from(values, shape));
    const std::string bytes = io::read_file(path);
    const std::string want = "{'descr': '<f4', 'fortran_order': False, 'shape': " + text + ", }";
    ASSERT_EQ(bytes.size(), 128 + values.size() * sizeof(float));
    EXPECT_EQ(bytes.substr(0, 10), std::string("\x93NUMPY\x01\x00\x76\x00", 10));
    EXPECT_EQ(bytes.substr(10, want.size()), want);
    EXPECT_EQ(bytes.substr(10 + want.size(), 118 - want.size()), std::string(117 - want.size(), ' ') + "\n");
    EXPECT_TRUE(values.empty() || std::memcmp(bytes.data() + 128, values.data(), values.size() * 4) == 0);
  }
  EXPECT_THROW(io::save_npy(path, zeros({2}, DType::float64)), Error);
  EXPECT_THROW(io::save_npy(path.parent_path() / "none" / "a.npy", zeros({2})), Error);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace headway
