// Damaged and hostile files: each is read, or refused by an Error; nothing else happens, and memory stays
// bounded by the size of the file. HEADWAY_TEST_ROUNDS says how many are tried for each format.
#include <cstdlib>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <headway/core/allocator.h>
#include <headway/core/error.h>
#include <headway/core/factory.h>
#include <headway/core/generator.h>
#include <headway/io/gguf.h>
#include <headway/io/image_processor.h>
#include <headway/io/model_files.h>
#include <headway/io/safetensors.h>

#include "io/gguf_build.h"
#include "io/golden.h"
#include "io/memory_peak.h"
#include "io/temporary.h"

namespace headway::io {
namespace {

namespace fs = std::filesystem;
using test::get;
using test::put;
using test::TemporaryFolder;

int rounds() {
  const char* given = std::getenv("HEADWAY_TEST_ROUNDS");
  return given ? std::atoi(given) : 1500;
}

// One to four changes: a bit, a byte, an extreme integer, a cut, an inserted or a repeated piece.
std::string mutated(std::string bytes, Generator& generator) {
  const auto changes = 1 + generator.below(4);
  for (std::uint64_t i = 0; i < changes && !bytes.empty(); ++i) {
    const auto at = static_cast<std::size_t>(generator.below(bytes.size()));
    switch (generator.below(7)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << generator.below(8)));
        break;
      case 1:
        bytes[at] = static_cast<char>(generator.below(256));
        break;
      case 2: {
        const std::uint64_t extremes[] = {0,
                                          1,
                                          ~std::uint64_t{0},
                                          std::uint64_t{1} << 63,
                                          std::uint64_t{1} << 31,
                                          std::uint64_t{1} << 60,
                                          0xffffffffU,
                                          0x7fffffffU};
        const std::uint64_t value = extremes[generator.below(8)];
        const std::size_t width = std::size_t{1} << generator.below(4);
        for (std::size_t j = 0; j < width && at + j < bytes.size(); ++j)
          bytes[at + j] = static_cast<char>(value >> 8 * j);
        break;
      }
      case 3:
        if (generator.below(4) == 0) bytes.resize(at);
        break;
      case 4:
        bytes.insert(at, std::string(1 + generator.below(9), static_cast<char>(generator.below(256))));
        break;
      case 5:
        bytes.insert(at, bytes.substr(generator.below(bytes.size()), generator.below(64)));
        break;
      default: {
        constexpr std::string_view kSigns = "[]{}\",:0-9e.\\u\0";
        bytes[at] = kSigns[generator.below(kSigns.size())];
      }
    }
  }
  return bytes;
}

// Reads mutations of the file at `path`, whose bytes are `whole`. Beyond what the file holds, reading may
// take `factor` times its size and a mebibyte.
void try_all(const fs::path& path, const std::string& whole, std::int64_t factor,
             const std::function<void()>& read) {
  put(path, whole);
  ASSERT_NO_THROW(read());
  Generator generator(17);
  int refused = 0;
  for (int i = 0; i < rounds(); ++i) {
    const std::string bytes = mutated(whole, generator);
    put(path, bytes);
    release_cached_memory();
    reset_peak();
    test::restart_peak();
    const std::int64_t before = test::allocated_bytes(), tensors = memory_stats().current;
    try {
      read();
    } catch (const Error& error) {
      ++refused;
      ASSERT_NE(error.code(), ErrorCode::internal) << error.what();
    }  // anything else ends the test
    const auto size = static_cast<std::int64_t>(bytes.size());
    ASSERT_LE(test::peak_bytes() - before, factor * size + (1 << 20)) << "round " << i;
    ASSERT_LE(memory_stats().peak - tensors, 16 * size + (1 << 20)) << "round " << i;
  }
  EXPECT_GT(refused, rounds() / 10);
}

void read_everything(const StoredTensors& tensors) {
  for (const StoredTensor& stored : tensors.tensors) {
    try {
      as_float32(stored).raw();
    } catch (const Error&) {  // a type that is not read
    }
  }
}

TEST(HostileFiles, safetensors) {
  const TemporaryFolder folder;
  Generator generator(1);
  const bool flags[] = {true, false};
  save_safetensors(folder / "f",
                   {{"weight", randn({3, 5}, generator)},
                    {"half", randn({7}, generator, DType::float16)},
                    {"flags", from<bool>(std::span(flags), {2})},
                    {"empty", zeros({0, 4})}},
                   {{"format", "pt"}});
  // A value of JSON that takes three bytes in the file takes about a hundred in memory.
  try_all(folder / "f", get(folder / "f"), 64, [&] {
    read_everything(open_safetensors(folder / "f"));
    load_safetensors(folder / "f");
  });
}

// The smallest values of JSON take the most memory for each byte of their text.
TEST(HostileFiles, json_of_many_small_values_stays_within_its_bound) {
  const TemporaryFolder folder;
  std::string lists = "[", objects = "[", keys = "{";
  for (int i = 0; i < 100000; ++i) {
    lists += "[],";
    objects += "{},";
    keys += fmt::format("\"{:x}\":0,", i);
  }
  for (const std::string& text : {lists + "0]", objects + "0]", keys + "\"\":0}"}) {
    std::string file(8, '\0');
    for (std::size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(text.size() >> (8 * i));
    put(folder / "f", file + text);
    test::restart_peak();
    const std::int64_t before = test::allocated_bytes();
    EXPECT_THROW(open_safetensors(folder / "f"), Error);
    EXPECT_LE(test::peak_bytes() - before, 64 * static_cast<std::int64_t>(text.size()));
  }
}

TEST(HostileFiles, index_of_shards) {
  const TemporaryFolder folder;
  save_model_files(folder.path(), {{"a.weight", ones({4})}, {"b.weight", ones({4})}, {"c", ones({1})}},
                   {.shard_bytes = 16});
  const fs::path index = folder / "model.safetensors.index.json";
  try_all(index, get(index), 64, [&] { read_everything(open_model_files(folder.path())); });
}

TEST(HostileFiles, gguf) {
  const TemporaryFolder folder;
  GgufMetadata metadata;
  metadata.values["general.architecture"] = std::string("llama");
  metadata.values["general.alignment"] = std::uint32_t{32};
  metadata.values["llama.block_count"] = std::uint32_t{2};
  metadata.values["tokens"] = GgufArray{std::vector<std::string>{"<s>", "a", "bc"}};
  metadata.values["scores"] = GgufArray{std::vector<float>{1, 2, 3}};
  metadata.values["nested"] =
      GgufArray{std::vector<GgufArray>{{std::vector<bool>{true}}, {std::vector<double>{1}}}};
  Generator generator(2);
  save_gguf(folder / "f", metadata,
            {{"a", randn({2, 32}, generator), GgufEncoding::q8_0}, {"b", randn({3, 5}, generator)}});
  try_all(folder / "f", get(folder / "f"), 16, [&] { read_everything(open_gguf(folder / "f").tensors); });
}

TEST(HostileFiles, images) {
  const TemporaryFolder folder;
  for (const auto& file : test::golden("images.json")["files"]) {
    SCOPED_TRACE(file["label"].get<std::string>());
    // At most 2^16 pixels of 3 bytes here.
    try_all(folder / "f", test::from_hex(file["bytes"]), 2,
            [&] { read_image(folder / "f", {.pixels = 1 << 16}); });
  }
}

TEST(HostileFiles, preprocessor_config) {
  const TemporaryFolder folder;
  const fs::path path = folder / "preprocessor_config.json";
  try_all(
      path,
      R"({"image_processor_type":"ViTImageProcessor","do_resize":true,"size":{"height":8,"width":9},"resample":2,
              "do_center_crop":true,"crop_size":{"height":4,"width":4},"do_rescale":true,"rescale_factor":0.0039,
              "do_normalize":true,"image_mean":[0.5,0.5,0.5],"image_std":[0.5,0.25,0.5]})",
      64, [&] {
        const ImageProcessor processor = ImageProcessor::load(folder.path());
        const auto& o = processor.options();
        if (o.height <= 64 && o.width <= 64 && o.crop_height <= 64 && o.crop_width <= 64 &&
            o.shortest_edge <= 64) {
          processor(Image{2, 2, std::vector<std::uint8_t>(12, 100)});
        }
      });
}

}  // namespace
}  // namespace headway::io
