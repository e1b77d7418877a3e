#include <headway/io/safetensors.h>

#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <headway/core/factory.h>
#include <headway/core/generator.h>

#include "io/temporary.h"

namespace headway::io {
namespace {

using test::get;
using test::put;
using test::TemporaryFolder;
using testing::AllOf;
using testing::HasSubstr;

std::vector<NamedTensor> one_of_each() {
  Generator generator(3);
  std::vector<NamedTensor> list{{"weight", randn({2, 3}, generator)},
                                {"double", randn({3}, generator, DType::float64)},
                                {"brain", randn({5}, generator, DType::bfloat16)},
                                {"half", randn({1, 2}, generator, DType::float16)},
                                {"ids", arange(4, DType::int32)},
                                {"steps", full({}, 7, DType::int64)},
                                {"empty", zeros({0, 3})}};
  const bool flags[] = {true, false, true};
  list.push_back({"flags", from<bool>(std::span(flags), {3})});
  return list;
}

std::string bytes_of(const Tensor& t) {
  return {static_cast<const char*>(t.raw()), static_cast<std::size_t>(t.numel()) * size_of(t.dtype())};
}

// A file with this header and these bytes of data.
std::string file_of(const std::string& header, const std::string& data) {
  std::string file(8, '\0');
  for (int i = 0; i < 8; ++i) file[static_cast<std::size_t>(i)] = static_cast<char>(header.size() >> (8 * i));
  return file + header + data;
}

std::string message_for(const std::string& bytes, ErrorCode code = ErrorCode::format) {
  const TemporaryFolder folder;
  put(folder / "x.safetensors", bytes);
  try {
    load_safetensors(folder / "x.safetensors");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr("x.safetensors"));
    return error.what();
  }
  ADD_FAILURE() << "it was accepted";
  return "";
}

TEST(SafeTensors, every_dtype_comes_back_bit_for_bit) {
  const TemporaryFolder folder;
  const auto before = one_of_each();
  save_safetensors(folder / "all.safetensors", before, {{"format", "headway"}, {"note", "ä\n\""}});
  const SafeTensors after = load_safetensors(folder / "all.safetensors");
  EXPECT_EQ(after.metadata.at("note"), "ä\n\"");
  ASSERT_EQ(after.tensors.size(), before.size());
  for (const NamedTensor& a : before) {
    const auto b =
        std::find_if(after.tensors.begin(), after.tensors.end(), [&](auto& t) { return t.name == a.name; });
    ASSERT_NE(b, after.tensors.end()) << a.name;
    EXPECT_EQ(b->tensor.describe(), a.tensor.describe());
    if (a.tensor.numel() > 0) {
      EXPECT_EQ(bytes_of(b->tensor), bytes_of(a.tensor)) << a.name;
    }
  }
}

TEST(SafeTensors, order_is_kept_among_equal_widths_and_wider_types_come_first) {
  const TemporaryFolder folder;
  save_safetensors(folder / "o",
                   {{"z", zeros({1})}, {"a", zeros({1})}, {"wide", zeros({1}, DType::float64)}});
  const auto tensors = load_safetensors(folder / "o").tensors;
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors[0].name + tensors[1].name + tensors[2].name, "wideza");
}

TEST(SafeTensors, header_is_what_the_format_says) {
  const TemporaryFolder folder;
  save_safetensors(folder / "h", {{"w", from<float>(std::vector<float>{1, 2}, {2})}});
  const std::string file = get(folder / "h");
  const auto length = static_cast<std::size_t>(static_cast<unsigned char>(file[0]));
  EXPECT_EQ((8 + length) % 8, 0u);
  EXPECT_THAT(file.substr(8, length),
              AllOf(HasSubstr("\"dtype\":\"F32\""), HasSubstr("\"data_offsets\":[0,8]")));
  EXPECT_EQ(file.size(), 8 + length + 8);
}

TEST(SafeTensors, strided_views_are_written_in_row_major_order) {
  const TemporaryFolder folder;
  const Tensor x = from<float>(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3});
  save_safetensors(folder / "t", {{"t", x.strided({3, 2}, {1, 3}, 0)}});
  EXPECT_EQ(load_safetensors(folder / "t").tensors[0].tensor.to_vector<float>(),
            (std::vector<float>{1, 4, 2, 5, 3, 6}));
}

TEST(SafeTensors, a_file_cut_at_any_length_is_an_error) {
  const TemporaryFolder folder;
  save_safetensors(folder / "whole", one_of_each());
  const std::string whole = get(folder / "whole");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    put(folder / "cut", whole.substr(0, length));
    EXPECT_THROW(load_safetensors(folder / "cut"), Error) << length;
  }
  put(folder / "cut", whole + "x");
  EXPECT_THROW(load_safetensors(folder / "cut"), Error);
}

TEST(SafeTensors, flipped_bits_give_an_error_or_other_values_but_never_a_crash) {
  const TemporaryFolder folder;
  save_safetensors(folder / "whole", one_of_each());
  const std::string whole = get(folder / "whole");
  Generator generator(11);
  int refused = 0;
  for (int i = 0; i < 600; ++i) {
    std::string broken = whole;
    broken[generator.below(broken.size())] ^= static_cast<char>(1 << generator.below(8));
    put(folder / "broken", broken);
    try {
      load_safetensors(folder / "broken");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::format);
      ++refused;
    }
  }
  EXPECT_GT(refused, 300);  // most of this file is header
}

TEST(SafeTensors, each_fault_of_the_header_is_named) {
  const auto with = [](const std::string& entry, std::size_t data = 8) {
    return message_for(file_of("{\"w\":" + entry + "}", std::string(data, '\0')));
  };
  EXPECT_THAT(message_for("short"), HasSubstr("5 bytes"));
  EXPECT_THAT(message_for(std::string(8, '\xff') + "{}"), HasSubstr("at most 100000000"));
  EXPECT_THAT(message_for(std::string("\x40\0\0\0\0\0\0\0", 8) + "{}"), HasSubstr("only 2 more"));
  EXPECT_THAT(message_for(file_of("", "")), HasSubstr("not JSON"));
  EXPECT_THAT(message_for(file_of("[]", "")), HasSubstr("array"));
  EXPECT_THAT(message_for(file_of("{\"\xff\":1}", "")), HasSubstr("not JSON"));
  EXPECT_THAT(message_for(file_of(std::string(1000, '['), "")), HasSubstr("nested"));
  EXPECT_THAT(message_for(file_of(R"({"__metadata__":{"a":1}})", "")), HasSubstr("want a text"));
  EXPECT_THAT(with("3"), HasSubstr("\"w\" is number"));
  EXPECT_THAT(with(R"({"dtype":"I8","shape":[8],"data_offsets":[0,8]})"), HasSubstr("I8"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1})"), HasSubstr("unknown key"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})"), HasSubstr("has 8 bytes; want 12"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})"), HasSubstr("from 0 up"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})"), HasSubstr("from 0 up"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":2,"data_offsets":[0,8]})"), HasSubstr("no list \"shape\""));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[2],"data_offsets":[0]})"), HasSubstr("1 data_offsets"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})"), HasSubstr("out of range"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[2],"data_offsets":[0,16]})"), HasSubstr("out of range"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]})"),
              HasSubstr("dimensions"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]})"),
              HasSubstr("overflows"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[4611686018427387904,4,0],"data_offsets":[0,0]})"),
              HasSubstr("overflows"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]})"),
              HasSubstr("dimension of"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[1e999],"data_offsets":[0,8]})"), HasSubstr("header"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})"), HasSubstr("hole"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})"), HasSubstr("end at 4"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":3)"), HasSubstr("twice"));
  EXPECT_THAT(
      with(
          R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]},"v":{"dtype":"F32","shape":[1],"data_offsets":[4,8]})"),
      HasSubstr("overlaps"));
  EXPECT_THAT(message_for(file_of(R"({"b":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", "\x02")),
              HasSubstr("neither 0 nor 1"));
}

TEST(SafeTensors, a_missing_file_is_an_io_error) {
  const TemporaryFolder folder;
  try {
    load_safetensors(folder / "none");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::io);
  }
}

TEST(SafeTensors, a_name_given_twice_is_refused_and_the_old_file_stays) {
  const TemporaryFolder folder;
  put(folder / "f", "old");
  EXPECT_THROW(save_safetensors(folder / "f", {{"a", zeros({1})}, {"a", zeros({1})}}), Error);
  EXPECT_THROW(save_safetensors(folder / "f", {{"\xff", zeros({1})}}), Error);
  EXPECT_EQ(get(folder / "f"), "old");
}

TEST(Assign, lists_everything_that_does_not_fit_and_changes_nothing) {
  const std::vector<NamedTensor> target{{"a", zeros({2})}, {"b", zeros({2})}, {"c", zeros({2})}};
  try {
    assign(target, {{"a", ones({2})}, {"b", ones({3})}, {"d", ones({1})}}, "model.safetensors");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("model.safetensors"), HasSubstr("\"b\" is float32 [3], want float32 [2]"),
                      HasSubstr("\"c\" is missing"), HasSubstr("\"d\" is not wanted")));
  }
  EXPECT_EQ(target[0].tensor.to_vector<float>(), (std::vector<float>{0, 0}));
}

TEST(Assign, copies_by_name_and_counts_as_a_write) {
  const std::vector<NamedTensor> target{{"a", zeros({2})}, {"b", zeros({1})}};
  const auto version = target[0].tensor.version();
  assign(target, {{"b", full({1}, 3)}, {"a", full({2}, 2)}}, "x");
  EXPECT_EQ(target[0].tensor.to_vector<float>(), (std::vector<float>{2, 2}));
  EXPECT_EQ(target[1].tensor.to_vector<float>(), (std::vector<float>{3}));
  EXPECT_GT(target[0].tensor.version(), version);
}

}  // namespace
}  // namespace headway::io
