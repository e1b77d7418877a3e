#include <headway/io/gguf.h>

#include <bit>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <headway/core/error.h>
#include <headway/core/factory.h>
#include <headway/core/generator.h>
#include <headway/core/parallel.h>

#include "io/gguf_build.h"
#include "io/golden.h"
#include "io/temporary.h"

namespace headway::io {
namespace {

using test::from_hex;
using test::GgufBuilder;
using test::golden;
using test::message_of;
using test::put;
using test::TemporaryFolder;
using testing::HasSubstr;

const std::map<std::string, std::uint32_t> kNumbers{{"Q4_0", 2}, {"Q4_1", 3},  {"Q5_0", 6},  {"Q5_1", 7},
                                                    {"Q8_0", 8}, {"Q4_K", 12}, {"Q5_K", 13}, {"Q6_K", 14}};

std::string refusal(const GgufBuilder& file) {
  const TemporaryFolder folder;
  put(folder / "x.gguf", file.str());
  const std::string message = message_of([&] { open_gguf(folder / "x.gguf"); });
  EXPECT_THAT(message, HasSubstr("x.gguf"));
  return message;
}

GgufFile opened(const GgufBuilder& file) {
  const TemporaryFolder folder;
  put(folder / "x.gguf", file.str());
  return open_gguf(folder / "x.gguf");
}

TEST(GgufReader, every_type_of_block_is_dequantized_as_by_gguf) {
  const auto cases = golden("gguf_blocks.json");
  for (const auto& [name, number] : kNumbers) {
    const std::string blocks = from_hex(cases[name]["blocks"]), floats = from_hex(cases[name]["floats"]);
    GgufBuilder file;
    file.head(1, 0).tensor("t", {floats.size() / 4}, number, 0).pad().raw(blocks);
    const GgufFile gguf = opened(file);
    const StoredTensor& stored = gguf.tensors.at("t");
    EXPECT_EQ(name_of(stored.type), name);
    const Tensor t = as_float32(stored);
    EXPECT_EQ(std::string(static_cast<const char*>(t.raw()), floats.size()), floats) << name;
  }
}

TEST(GgufReader, rows_in_pieces_are_the_rows_of_the_whole_for_any_number_of_threads) {
  const auto cases = golden("gguf_blocks.json");
  const std::string blocks = from_hex(cases["Q4_K"]["blocks"]);
  GgufBuilder file;
  file.head(1, 0).tensor("t", {512, 300}, 12, 0).pad();
  for (int i = 0; i < 600; ++i) {
    std::string block = blocks;
    block[20] = static_cast<char>(i);
    file.raw(block);
  }
  const GgufFile gguf = opened(file);
  const StoredTensor& stored = gguf.tensors.at("t");
  EXPECT_EQ(stored.shape, (Shape{300, 512}));
  const auto whole = as_float32(stored).to_vector<float>();
  const int before = threads();
  for (const int count : {1, 2, 3, 7}) {
    set_threads(count);
    EXPECT_EQ(as_float32(stored).to_vector<float>(), whole);
    std::vector<float> rows(100 * 512);
    read_rows(stored, 123, 100, rows.data());
    EXPECT_TRUE(std::equal(rows.begin(), rows.end(), whole.begin() + 123 * 512));
  }
  set_threads(before);
  EXPECT_THROW(read_rows(stored, 299, 2, nullptr), Error);
}

TEST(GgufReader, every_kind_of_metadata_comes_back) {
  GgufMetadata metadata;
  auto& v = metadata.values;
  v["u8"] = std::uint8_t{200};
  v["i8"] = std::int8_t{-100};
  v["u16"] = std::uint16_t{60000};
  v["i16"] = std::int16_t{-30000};
  v["u32"] = std::uint32_t{4000000000};
  v["i32"] = std::int32_t{-2000000000};
  v["f32"] = 1.5F;
  v["bool"] = true;
  v["text"] = std::string("ä\0b", 4);
  v["u64"] = ~std::uint64_t{0};
  v["i64"] = std::int64_t{-5};
  v["f64"] = 0.1;
  v["general.architecture"] = std::string("llama");
  v["texts"] = GgufArray{std::vector<std::string>{"", "x", "yz"}};
  v["flags"] = GgufArray{std::vector<bool>{true, false, true}};
  v["ids"] = GgufArray{std::vector<std::int32_t>{1, -2}};
  v["scores"] = GgufArray{std::vector<float>{0.5F}};
  v["nested"] =
      GgufArray{std::vector<GgufArray>{{std::vector<std::uint16_t>{1, 2}}, {std::vector<double>{}}}};
  const TemporaryFolder folder;
  save_gguf(folder / "f", metadata, {});
  const GgufMetadata read = open_gguf(folder / "f").metadata;
  ASSERT_EQ(read.values.size(), v.size());
  for (const auto& [key, value] : v) EXPECT_EQ(read.values.at(key).index(), value.index()) << key;
  EXPECT_EQ(read.integer("u8"), 200);
  EXPECT_EQ(read.integer("i8"), -100);
  EXPECT_EQ(read.integer("u16"), 60000);
  EXPECT_EQ(read.integer("i16"), -30000);
  EXPECT_EQ(read.integer("u32"), 4000000000);
  EXPECT_EQ(read.integer("i32"), -2000000000);
  EXPECT_EQ(read.integer("i64"), -5);
  EXPECT_EQ(read.number("f32"), 1.5);
  EXPECT_EQ(read.number("f64"), 0.1);
  EXPECT_EQ(read.number("i64"), -5);
  EXPECT_TRUE(read.flag("bool"));
  EXPECT_EQ(read.text("text").size(), 4u);
  EXPECT_EQ(read.texts("texts"), (std::vector<std::string>{"", "x", "yz"}));
  EXPECT_EQ(std::get<std::vector<bool>>(std::get<GgufArray>(read.values.at("flags")).items),
            (std::vector<bool>{true, false, true}));
  EXPECT_EQ(read.integers("ids"), (std::vector<std::int64_t>{1, -2}));
  EXPECT_EQ(read.numbers("scores"), (std::vector<double>{0.5}));
  const auto& nested = std::get<std::vector<GgufArray>>(std::get<GgufArray>(read.values.at("nested")).items);
  ASSERT_EQ(nested.size(), 2u);
  EXPECT_EQ(nested[0].size(), 2u);
  EXPECT_EQ(read.integer("none", 7), 7);
  EXPECT_EQ(read.text("none", "x"), "x");
  EXPECT_THAT(message_of([&] { read.integer("none"); }), HasSubstr("\"none\" is missing"));
  EXPECT_THAT(message_of([&] { read.integer("u64"); }), HasSubstr("out of range"));
  EXPECT_THAT(message_of([&] { read.integer("text"); }), HasSubstr("no integer"));
  EXPECT_THAT(message_of([&] { read.integers("texts"); }), HasSubstr("no array of integers"));
}

TEST(GgufReader, versions_and_byte_orders_that_it_does_not_read_are_named) {
  EXPECT_NO_THROW(opened(GgufBuilder().head(0, 0, 2)));
  EXPECT_THAT(refusal(GgufBuilder().head(0, 0, 1)), HasSubstr("version 1"));
  EXPECT_THAT(refusal(GgufBuilder().head(0, 0, 4)), HasSubstr("version 4"));
  EXPECT_THAT(refusal(GgufBuilder().head(0, 0, 0x03000000)), HasSubstr("big-endian"));
  EXPECT_THAT(
      refusal(GgufBuilder().raw("GGML").put<std::uint32_t>(3).put<std::uint64_t>(0).put<std::uint64_t>(0)),
      HasSubstr("begin with GGUF"));
  EXPECT_THAT(refusal(GgufBuilder().raw("GGUF")), HasSubstr("4 bytes"));
}

TEST(GgufReader, counts_beyond_the_file_are_refused_before_anything_is_allocated) {
  const std::uint64_t huge = std::uint64_t{1} << 60;
  EXPECT_THAT(refusal(GgufBuilder().head(0, huge)), HasSubstr("keys"));
  EXPECT_THAT(refusal(GgufBuilder().head(huge, 0)), HasSubstr("tensors"));
  EXPECT_THAT(refusal(GgufBuilder().head(0, 1).put(huge).raw("abcdefgh")), HasSubstr("ends within its key"));
  for (std::uint32_t type = 0; type < 13; ++type) {
    GgufBuilder file;
    file.head(0, 1).text("key").put<std::uint32_t>(9).put(type).put(huge).raw(std::string(64, '\0'));
    EXPECT_THAT(refusal(file), HasSubstr("array of 1152921504606846976 elements"));
  }
  EXPECT_THAT(refusal(GgufBuilder().head(0, 1).text("key").put<std::uint32_t>(13).raw(std::string(16, '\0'))),
              HasSubstr("type 13"));
}

TEST(GgufReader, nesting_has_a_bound) {
  GgufBuilder file;
  file.head(0, 1).text("key").put<std::uint32_t>(9);
  for (int i = 0; i < 100000; ++i) file.put<std::uint32_t>(9).put<std::uint64_t>(1);
  file.put<std::uint32_t>(0).put<std::uint64_t>(0);
  EXPECT_THAT(refusal(file), HasSubstr("nested more than"));
}

TEST(GgufReader, refuses_names_that_are_empty_given_twice_or_hold_a_nul) {
  const auto keys = [](std::string_view a, std::string_view b) {
    return GgufBuilder()
        .head(0, 2)
        .text(a)
        .put<std::uint32_t>(0)
        .put<std::uint8_t>(1)
        .text(b)
        .put<std::uint32_t>(0)
        .put<std::uint8_t>(1)
        .raw(std::string(30, '\0'));
  };
  EXPECT_THAT(refusal(keys("a", "a")), HasSubstr("\"a\" is given twice"));
  EXPECT_THAT(refusal(keys("", "a")), HasSubstr("0 bytes"));
  EXPECT_THAT(refusal(keys(std::string_view("a\0b", 3), "a")), HasSubstr("NUL"));
  const auto tensors = [](std::string_view a, std::string_view b) {
    return GgufBuilder()
        .head(2, 0)
        .tensor(a, {8}, 0, 0)
        .tensor(b, {8}, 0, 32)
        .pad()
        .raw(std::string(64, '\0'));
  };
  EXPECT_NO_THROW(opened(tensors("a", "b")));
  EXPECT_THAT(refusal(tensors("a", "a")), HasSubstr("\"a\""));
  EXPECT_THAT(refusal(tensors("a", std::string_view("b\0", 2))), HasSubstr("NUL"));
}

TEST(GgufReader, refuses_a_tensor_that_ends_beyond_the_file) {
  const auto one = [](const std::vector<std::uint64_t>& dims, std::uint32_t type, std::uint64_t offset,
                      std::size_t data = 64) {
    return refusal(
        GgufBuilder().head(1, 0).tensor("t", dims, type, offset).pad().raw(std::string(data, '\0')));
  };
  EXPECT_THAT(one({17}, 0, 0), HasSubstr("68 bytes at 0 of the data, beyond the end"));
  EXPECT_THAT(one({8}, 0, 32), HasSubstr("begins at 32 of the data; want 0"));
  EXPECT_THAT(one({8}, 0, 0, 31), HasSubstr("beyond the end"));
  EXPECT_THAT(one({std::uint64_t{1} << 62, 4}, 0, 0), HasSubstr("overflows"));
  EXPECT_THAT(one({std::uint64_t{1} << 62, 4, 0}, 0, 0), HasSubstr("overflows"));
  EXPECT_THAT(one({std::uint64_t{1} << 63}, 0, 0), HasSubstr("dimension of"));
  EXPECT_THAT(one({1, 1, 1, 1, 1}, 0, 0), HasSubstr("5 dimensions"));
  EXPECT_THAT(one({16, 2}, 8, 0), HasSubstr("no multiple of 32"));
  EXPECT_THAT(one({8}, 4, 0), HasSubstr("type 4, which is not known"));
}

TEST(GgufReader, the_data_begins_where_the_alignment_says) {
  const auto with = [](std::uint32_t alignment) {
    return GgufBuilder()
        .head(2, 1)
        .text("general.alignment")
        .put<std::uint32_t>(4)
        .put(alignment)
        .tensor("a", {1}, 0, 0)
        .tensor("b", {1}, 0, 64)
        .pad(64)
        .put(1.5F)
        .pad(64)
        .put(2.5F);
  };
  const GgufFile file = opened(with(64));
  EXPECT_EQ(file.alignment, 64u);
  EXPECT_EQ(as_float32(file.tensors.at("b")).item<float>(), 2.5F);
  EXPECT_THAT(refusal(with(0)), HasSubstr("power of two"));
  EXPECT_THAT(refusal(with(48)), HasSubstr("power of two"));
}

TEST(GgufReader, types_that_it_does_not_dequantize_are_listed_and_refused_by_name) {
  const GgufFile file =
      opened(GgufBuilder().head(1, 0).tensor("t", {256}, 16, 0).pad().raw(std::string(66, '\0')));
  EXPECT_EQ(name_of(file.tensors.at("t").type), "IQ2_XXS");
  EXPECT_THAT(message_of([&] { as_float32(file.tensors.at("t")); }), HasSubstr("\"t\" is stored as IQ2_XXS"));
}

TEST(GgufWriter, q8_0_is_rounded_as_by_gguf) {
  const auto expected = golden("gguf_blocks.json")["quantized_Q8_0"];
  const auto values = test::floats_of(from_hex(expected["floats"]));
  const TemporaryFolder folder;
  save_gguf(folder / "f", {}, {{"t", from<float>(values, {2, 64}), GgufEncoding::q8_0}});
  const StoredTensors tensors = open_gguf(folder / "f").tensors;
  const StoredTensor& t = tensors.at("t");
  const auto bytes = t.file->bytes(t.begin, t.bytes);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()),
            from_hex(expected["blocks"]));
}

TEST(GgufWriter, what_it_writes_comes_back) {
  const TemporaryFolder folder;
  Generator generator(4);
  const Tensor a = randn({3, 5}, generator), b = randn({2, 3, 32}, generator, DType::bfloat16);
  GgufMetadata metadata;
  metadata.values["general.alignment"] = std::uint32_t{128};
  save_gguf(
      folder / "f", metadata,
      {{"a", a}, {"view", a.strided({5, 3}, {1, 5}, 0), GgufEncoding::f16}, {"b", b, GgufEncoding::bf16}});
  const GgufFile file = open_gguf(folder / "f");
  EXPECT_EQ(file.tensors.at("b").begin % 128, 0u);
  EXPECT_EQ(as_float32(file.tensors.at("a")).to_vector<float>(), a.to_vector<float>());
  const Tensor brain = as(file.tensors.at("b"), DType::bfloat16);
  EXPECT_EQ(brain.shape(), b.shape());
  EXPECT_EQ(std::memcmp(brain.raw(), b.raw(), 2 * 192), 0);
  EXPECT_EQ(as_float32(file.tensors.at("view")).to_vector<float>()[1],
            static_cast<float>(float16(a.to_vector<float>()[5])));
}

TEST(GgufWriter, what_cannot_be_written_is_refused_by_name) {
  const TemporaryFolder folder;
  const auto refused = [&](const GgufTensor& tensor) {
    return message_of([&] { save_gguf(folder / "f", {}, {tensor}); });
  };
  EXPECT_THAT(refused({"t", zeros({33}), GgufEncoding::q8_0}), HasSubstr("multiple of 32"));
  EXPECT_THAT(refused({"t", arange(3)}), HasSubstr("int64"));
  EXPECT_THAT(refused({"", zeros({1})}), HasSubstr("0 bytes"));
  EXPECT_THAT(refused({std::string(64, 'x'), zeros({1})}), HasSubstr("64 bytes"));
  EXPECT_THAT(refused({"t", zeros({})}), HasSubstr("dimensions"));
  EXPECT_THAT(refused({"t", full({32}, std::numeric_limits<double>::infinity()), GgufEncoding::q8_0}),
              HasSubstr("Q8_0"));
  EXPECT_THAT(message_of([&] {
                save_gguf(folder / "f", {}, {{"t", zeros({1})}, {"t", zeros({1})}});
              }),
              HasSubstr("twice"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace headway::io
