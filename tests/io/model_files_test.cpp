#include <headway/io/model_files.h>

#include <bit>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <headway/core/allocator.h>
#include <headway/core/error.h>
#include <headway/core/factory.h>
#include <headway/core/generator.h>
#include <headway/io/safetensors.h>

#include "io/golden.h"
#include "io/temporary.h"

namespace headway::io {
namespace {

namespace fs = std::filesystem;
using test::get;
using test::message_of;
using test::put;
using test::TemporaryFolder;
using testing::AllOf;
using testing::HasSubstr;

std::string bytes_of(const Tensor& t) {
  return {static_cast<const char*>(t.raw()), static_cast<std::size_t>(t.numel()) * size_of(t.dtype())};
}

std::string file_of(const std::string& header, const std::string& data) {
  std::string file(8, '\0');
  for (int i = 0; i < 8; ++i) file[static_cast<std::size_t>(i)] = static_cast<char>(header.size() >> (8 * i));
  return file + header + data;
}

// Every 16-bit word, as a tensor.
Tensor all_words(DType dtype) {
  const Tensor t = Tensor::empty({256, 256}, dtype);
  for (int i = 0; i < 1 << 16; ++i) static_cast<std::uint16_t*>(t.raw())[i] = static_cast<std::uint16_t>(i);
  return t;
}

TEST(OpenSafetensors, lists_every_type_of_the_format_and_reads_no_tensor) {
  const TemporaryFolder folder;
  put(folder / "f", file_of(R"({"__metadata__":{"k":"v"},)"
                            R"("a":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[0,3]},)"
                            R"("b":{"dtype":"U8","shape":[5],"data_offsets":[3,8]},)"
                            R"("c":{"dtype":"F4","shape":[2,2],"data_offsets":[8,10]},)"
                            R"("d":{"dtype":"C64","shape":[],"data_offsets":[10,18]}})",
                            std::string(18, '\1')));
  const StoredTensors file = open_safetensors(folder / "f");
  EXPECT_EQ(file.metadata.at("k"), "v");
  ASSERT_EQ(file.tensors.size(), 4u);
  EXPECT_EQ(name_of(file.at("a").type), "F8_E4M3");
  EXPECT_EQ(name_of(file.at("d").type), "C64");
  EXPECT_EQ(file.at("c").shape, (Shape{2, 2}));
  EXPECT_EQ(file.find("e"), nullptr);
  EXPECT_THAT(message_of([&] { file.at("e"); }), HasSubstr("no tensor \"e\""));
  EXPECT_THAT(message_of([&] { as_float32(file.at("a")); }), HasSubstr("\"a\" is stored as F8_E4M3"));
  EXPECT_THAT(message_of([&] { as(file.at("b"), DType::boolean); }), HasSubstr("U8"));
}

TEST(OpenSafetensors, a_name_with_a_nul_and_half_a_byte_are_refused) {
  const TemporaryFolder folder;
  put(folder / "f", file_of(R"({"w\u0000a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"));
  EXPECT_THAT(message_of([&] { open_safetensors(folder / "f"); }), HasSubstr("NUL"));
  put(folder / "f", file_of(R"({"w":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}})", "x"));
  EXPECT_THAT(message_of([&] { open_safetensors(folder / "f"); }), HasSubstr("cut within a byte"));
  put(folder / "f",
      file_of(R"({"w":{"dtype":"Q8_0","shape":[32],"data_offsets":[0,34]}})", std::string(34, 'x')));
  EXPECT_THAT(message_of([&] { open_safetensors(folder / "f"); }), HasSubstr("does not know"));
}

TEST(StoredTensor, opening_costs_no_memory_and_reading_makes_the_elements_once) {
  const TemporaryFolder folder;
  Generator generator(1);
  const Tensor big = randn({1000, 100}, generator);
  save_safetensors(folder / "f", {{"w", big}});
  const auto before = memory_stats().current;
  const StoredTensors file = open_safetensors(folder / "f");
  const Tensor w = as_float32(file.at("w"));
  EXPECT_EQ(memory_stats().current, before);
  EXPECT_EQ(bytes_of(w), bytes_of(big));
  EXPECT_EQ(memory_stats().current, before + 400000);
}

TEST(StoredTensor, every_word_of_16_bits_goes_to_float32_and_comes_back) {
  const TemporaryFolder folder;
  const Tensor halves = all_words(DType::float16), brains = all_words(DType::bfloat16);
  save_safetensors(folder / "in", {{"half", halves}, {"brain", brains}});
  const StoredTensors in = open_safetensors(folder / "in");
  const Tensor half = as_float32(in.at("half")), brain = as_float32(in.at("brain"));
  for (int i = 0; i < 1 << 16; ++i) {
    const auto wide = static_cast<float>(halves.data<float16>()[i]);
    ASSERT_EQ(std::bit_cast<std::uint32_t>(half.data<float>()[i]), std::bit_cast<std::uint32_t>(wide)) << i;
  }
  save_model_files(folder.path(), {{"half", half, DType::float16}, {"brain", brain, DType::bfloat16}});
  const SafeTensors out = load_safetensors(folder / "model.safetensors");
  EXPECT_EQ(out.metadata.at("format"), "pt");
  for (const NamedTensor& t : out.tensors)
    EXPECT_EQ(bytes_of(t.tensor), bytes_of(t.name == "half" ? halves : brains));
}

TEST(StoredTensor, floats_are_rounded_to_nearest_even_and_other_types_keep_theirs) {
  const TemporaryFolder folder;
  const bool flags[] = {true, false};
  save_safetensors(folder / "f", {{"d", from<double>(std::vector<double>{1 + 0x1p-24, -2}, {2})},
                                  {"n", arange(3, DType::int64)},
                                  {"b", from<bool>(std::span(flags), {2})}});
  const StoredTensors file = open_safetensors(folder / "f");
  EXPECT_EQ(as_float32(file.at("d")).to_vector<float>(),
            (std::vector<float>{1.0F, -2.0F}));  // a half, to even
  EXPECT_EQ(as(file.at("d"), DType::float64).to_vector<double>()[0], 1 + 0x1p-24);
  EXPECT_EQ(as(file.at("d"), DType::bfloat16).to_vector<bfloat16>()[1].bits, bfloat16(-2.0F).bits);
  EXPECT_EQ(as(file.at("n"), DType::int64).to_vector<std::int64_t>(), (std::vector<std::int64_t>{0, 1, 2}));
  EXPECT_EQ(as(file.at("b"), DType::boolean).to_vector<bool>(), (std::vector<bool>{true, false}));
  EXPECT_THAT(message_of([&] { as_float32(file.at("n")); }), HasSubstr("I64"));
}

TEST(StoredTensor, rows_are_read_one_range_after_another) {
  const TemporaryFolder folder;
  Generator generator(2);
  const Tensor w = randn({5, 3, 4}, generator, DType::bfloat16);
  save_safetensors(folder / "f", {{"w", w}, {"scalar", full({}, 7)}});
  const StoredTensors file = open_safetensors(folder / "f");
  const Tensor whole = as_float32(file.at("w"));
  std::vector<float> rows(8);
  read_rows(file.at("w"), 6, 2, rows.data());
  EXPECT_TRUE(std::equal(rows.begin(), rows.end(), whole.data<float>() + 24));
  read_rows(file.at("scalar"), 0, 1, rows.data());
  EXPECT_EQ(rows[0], 7);
  EXPECT_THROW(read_rows(file.at("w"), 14, 2, rows.data()), Error);
  EXPECT_THROW(read_rows(file.at("w"), -1, 1, rows.data()), Error);
}

TEST(ModelFiles, shards_hold_every_tensor_and_come_back_bit_for_bit) {
  const TemporaryFolder folder;
  Generator generator(3);
  const Tensor a = randn({10}, generator), b = randn({100}, generator), c = randn({5, 2}, generator);
  const Tensor strided = c.strided({2, 5}, {1, 2}, 0);
  save_model_files(folder.path(), {{"a", a}, {"big", b}, {"c", c}, {"t", strided, DType::float64}},
                   {.shard_bytes = 80});
  // A tensor over the limit stands alone; the shard that was open goes on.
  EXPECT_TRUE(fs::exists(folder / "model-00003-of-00003.safetensors"));
  EXPECT_FALSE(fs::exists(folder / "model.safetensors"));
  const auto index = nlohmann::json::parse(get(folder / "model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], 40 + 400 + 40 + 80);
  EXPECT_EQ(index["metadata"]["total_parameters"], 130);
  EXPECT_EQ(index["weight_map"]["big"], "model-00001-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["a"], index["weight_map"]["c"]);
  const StoredTensors model = open_model_files(folder.path());
  EXPECT_EQ(model.tensors.size(), 4u);
  EXPECT_EQ(bytes_of(as_float32(model.at("big"))), bytes_of(b));
  EXPECT_EQ(bytes_of(as_float32(model.at("c"))), bytes_of(c));
  const auto written = as_float32(model.at("t")).to_vector<float>();
  EXPECT_EQ(written, strided.to_vector<float>());
}

TEST(ModelFiles, every_disagreement_of_index_and_shards_is_named) {
  const TemporaryFolder folder;
  save_safetensors(folder / "one", {{"a", zeros({1})}, {"b", zeros({1})}});
  save_safetensors(folder / "two", {{"a", zeros({1})}});
  const auto with = [&](const std::string& map) {
    put(folder / "model.safetensors.index.json", R"({"weight_map":)" + map + "}");
    return message_of([&] { open_model_files(folder.path()); });
  };
  EXPECT_THAT(with(R"({"a":"one"})"), HasSubstr("does not put tensor \"b\" into one"));
  EXPECT_THAT(with(R"({"a":"one","b":"one","c":"one"})"),
              HasSubstr("lists tensor \"c\" in one, which lacks it"));
  EXPECT_THAT(with(R"({"a":"one","b":"one","c":"three"})"), HasSubstr("shard \"three\", which is not there"));
  EXPECT_THAT(with(R"({"b":"one","a":"two"})"), HasSubstr("\"a\""));
  EXPECT_THAT(with(R"({"a":"one","a":"two"})"), HasSubstr("twice"));
  EXPECT_THAT(with("{}"), HasSubstr("no tensor"));
  EXPECT_THAT(with("3"), HasSubstr("weight_map"));
  EXPECT_THAT(with(R"({"a":1})"), HasSubstr("no file name"));
  for (const char* outside : {"../x", "/etc/passwd", "..", "", "a/../../x", "one/", "a\\\\b", "one\\u0000"}) {
    EXPECT_THAT(with(std::string(R"({"a":")") + outside + "\"}"), HasSubstr("want a file beside the index"))
        << outside;
  }
  put(folder / "model.safetensors.index.json", R"({"weight_map":{"a":"one","b":"one"}})");
  EXPECT_EQ(open_model_files(folder.path()).tensors.size(), 2u);
}

TEST(ModelFiles, a_pickle_is_refused_with_the_python_that_converts_it) {
  const TemporaryFolder folder;
  EXPECT_THAT(message_of([&] { open_model_files(folder.path()); }), HasSubstr("neither model.safetensors"));
  EXPECT_THAT(message_of([&] { open_model_files(folder / "none"); }), HasSubstr("none"));
  put(folder / "pytorch_model.bin", "x");
  try {
    open_model_files(folder.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("from transformers import"), HasSubstr("save_pretrained")));
  }
}

TEST(ModelFiles, what_cannot_be_written_is_refused_and_leaves_no_file) {
  const TemporaryFolder folder;
  const auto refused = [&](const std::vector<OutputTensor>& tensors) {
    EXPECT_THROW(save_model_files(folder.path(), tensors), Error);
    EXPECT_TRUE(fs::is_empty(folder.path()));
  };
  refused({{"a", zeros({1})}, {"a", zeros({1})}});
  refused({{std::string("a\0b", 3), zeros({1})}});
  refused({{"__metadata__", zeros({1})}});
  refused({{"a", Tensor()}});
  refused({{"a", arange(3), DType::float32}});
  EXPECT_THROW(save_model_files(folder.path(), {}, {.shard_bytes = 0}), Error);
}

TEST(ModelFiles, what_is_on_demand_is_written_and_stays_on_demand) {
  const TemporaryFolder folder;
  save_safetensors(folder / "f", {{"w", full({64}, 3)}});
  const Tensor w = as_float32(open_safetensors(folder / "f").at("w"));
  save_model_files(folder.path(), {{"w", w, DType::bfloat16}});
  EXPECT_TRUE(w.storage().on_demand());
  EXPECT_EQ(as_float32(open_model_files(folder.path()).at("w")).to_vector<float>(),
            std::vector<float>(64, 3));
}

}  // namespace
}  // namespace headway::io
