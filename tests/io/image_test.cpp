#include <headway/io/image.h>

#include <cmath>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <headway/core/error.h>
#include <headway/core/parallel.h>
#include <headway/io/image_processor.h>

#include "io/golden.h"
#include "io/temporary.h"

namespace headway::io {
namespace {

using test::from_hex;
using test::golden;
using test::message_of;
using test::put;
using test::TemporaryFolder;
using testing::HasSubstr;

Image image_of(const nlohmann::json& json) {
  const std::string bytes = from_hex(json["pixels"]);
  return {json["height"], json["width"], std::vector<std::uint8_t>(bytes.begin(), bytes.end())};
}

std::span<const std::byte> span_of(const std::string& bytes) { return std::as_bytes(std::span(bytes)); }

TEST(Resize, gives_pillows_bytes_for_every_filter) {
  const auto cases = golden("images.json");
  const Image image = image_of(cases);
  for (const auto& expected : cases["resized"]) {
    const auto filter = static_cast<Resample>(expected["filter"].get<int>());
    const Image got = resize(image, expected["height"], expected["width"], filter);
    EXPECT_EQ(got.pixels, image_of(expected).pixels)
        << expected["filter"] << " to " << expected["height"] << " x " << expected["width"];
  }
}

TEST(Resize, gives_the_same_bytes_for_any_number_of_threads) {
  Image image{97, 61, std::vector<std::uint8_t>(97 * 61 * 3)};
  for (std::size_t i = 0; i < image.pixels.size(); ++i)
    image.pixels[i] = static_cast<std::uint8_t>(i * i >> 3);
  const int before = threads();
  set_threads(1);
  const Image one = resize(image, 50, 70, Resample::bicubic);
  for (const int count : {2, 3, 7}) {
    set_threads(count);
    EXPECT_EQ(resize(image, 50, 70, Resample::bicubic).pixels, one.pixels);
  }
  set_threads(before);
}

TEST(Resize, sizes_that_are_none_are_refused) {
  const Image image{1, 1, {1, 2, 3}};
  EXPECT_THROW(resize(image, 0, 1, Resample::box), Error);
  EXPECT_THROW(resize(image, 1, 65536, Resample::nearest), Error);
  EXPECT_THROW(resize({1, 2, {1, 2, 3}}, 1, 1, Resample::box), Error);
  EXPECT_THROW(resize({}, 1, 1, Resample::box), Error);
}

TEST(CenterCrop, takes_the_middle_or_stands_in_black) {
  Image image{3, 4, std::vector<std::uint8_t>(36)};
  std::iota(image.pixels.begin(), image.pixels.end(), std::uint8_t{1});
  const auto red = [](const Image& i, std::int64_t y, std::int64_t x) {
    return i.pixels[static_cast<std::size_t>((y * i.width + x) * 3)];
  };
  const Image small = center_crop(image, 2, 2);
  EXPECT_EQ(red(small, 0, 0), red(image, 0, 1));
  EXPECT_EQ(red(small, 1, 1), red(image, 1, 2));
  const Image large = center_crop(image, 6, 6);  // two rows above and one below, a column on each side
  EXPECT_EQ(red(large, 2, 1), red(image, 0, 0));
  EXPECT_EQ(red(large, 4, 4), red(image, 2, 3));
  EXPECT_EQ(red(large, 1, 1), 0);
  EXPECT_EQ(red(large, 5, 4), 0);
  EXPECT_EQ(red(large, 3, 5), 0);
}

TEST(DecodeImage, gives_pillows_pixels) {
  for (const auto& file : golden("images.json")["files"]) {
    const std::string bytes = from_hex(file["bytes"]);
    const Image got = decode_image(span_of(bytes), "it"), want = image_of(file);
    ASSERT_EQ(got.height, want.height) << file["label"];
    ASSERT_EQ(got.pixels.size(), want.pixels.size()) << file["label"];
    // JPEG leaves the rounding of the transform and of the colours to the decoder: one step each.
    const int tolerance = file["exact"] ? 0 : 2;
    for (std::size_t i = 0; i < want.pixels.size(); ++i) {
      ASSERT_LE(std::abs(got.pixels[i] - want.pixels[i]), tolerance) << file["label"] << " at " << i;
    }
  }
}

TEST(DecodeImage, a_file_cut_at_any_length_is_an_error) {
  for (const auto& file : golden("images.json")["files"]) {
    const std::string bytes = from_hex(file["bytes"]);
    const std::size_t ending =
        file["label"].get<std::string>().ends_with("png") ? 12 : 1;  // IEND holds nothing
    for (std::size_t length = 0; length + ending < bytes.size(); length += 7) {
      EXPECT_THROW(decode_image(span_of(bytes.substr(0, length)), "it"), Error)
          << file["label"] << ' ' << length;
    }
  }
}

TEST(DecodeImage, a_huffman_table_of_more_than_256_codes_is_refused) {
  for (const auto& file : golden("images.json")["files"]) {
    if (!file["label"].get<std::string>().ends_with("jpeg")) continue;
    const std::string bytes = from_hex(file["bytes"]);
    // Behind the marker: a length, the table's kind, 16 numbers of codes.
    for (std::size_t at = bytes.find("\xff\xc4"); at != std::string::npos;
         at = bytes.find("\xff\xc4", at + 2)) {
      std::string broken = bytes;
      broken.replace(at + 5, 2, "\xff\xff");
      EXPECT_THAT(message_of([&] { decode_image(span_of(broken), "it"); }), HasSubstr("JPEG with"));
    }
  }
}

TEST(DecodeImage, limits_are_kept_before_anything_is_decoded) {
  const auto file = golden("images.json")["files"][0];
  const std::string bytes = from_hex(file["bytes"]);
  EXPECT_THAT(message_of([&] { decode_image(span_of(bytes), "it", {.pixels = 98}); }),
              HasSubstr("9 x 11 pixels"));
  EXPECT_THAT(message_of([&] { decode_image(span_of(bytes), "it", {.file_bytes = 10}); }),
              HasSubstr("at most 10"));
  EXPECT_NO_THROW(decode_image(span_of(bytes), "it", {.pixels = 99}));
  std::string huge = bytes;  // 15,000 by 15,000 in a file of 400 bytes
  for (const std::size_t at : {16U, 20U}) huge.replace(at, 4, std::string("\x00\x00\x3a\x98", 4));
  EXPECT_THAT(message_of([&] { decode_image(span_of(huge), "it"); }), HasSubstr("15000 x 15000"));
  EXPECT_THAT(message_of([&] { decode_image({}, "it"); }), HasSubstr("no PNG"));
}

class ProcessorOf {
 public:
  explicit ProcessorOf(const std::string& json) { put(folder_ / "preprocessor_config.json", json); }
  ImageProcessor load() const { return ImageProcessor::load(folder_.path()); }
  ImageProcessorOptions options() const { return load().options(); }

 private:
  TemporaryFolder folder_;
};

TEST(ImageProcessor, rescales_and_normalizes_each_channel) {
  const ImageProcessor processor({.do_resize = false, .image_mean = {0.5, 0, 1}, .image_std = {0.5, 1, 2}});
  const Tensor out = processor(Image{1, 2, {0, 51, 255, 255, 102, 0}});
  EXPECT_EQ(out.shape(), (Shape{3, 1, 2}));
  const auto x = out.to_vector<float>();
  const auto scaled = [](double value) { return static_cast<float>(value * (1.0 / 255)); };
  EXPECT_EQ(x, (std::vector<float>{-1, 1, scaled(51), scaled(102), 0, -0.5F}));
}

TEST(ImageProcessor, the_shorter_edge_is_resized_and_the_middle_kept) {
  const ImageProcessor processor({.height = 0,
                                  .width = 0,
                                  .shortest_edge = 8,
                                  .do_center_crop = true,
                                  .crop_height = 8,
                                  .crop_width = 8});
  const Image wide{10, 25, std::vector<std::uint8_t>(750, 128)};
  EXPECT_EQ(processor(wide).shape(), (Shape{3, 8, 8}));
  const std::vector<Image> two(2, wide);
  EXPECT_EQ(processor(two).shape(), (Shape{2, 3, 8, 8}));
  const ImageProcessor loose({.height = 0, .width = 0, .shortest_edge = 8});
  EXPECT_EQ(loose(wide).shape(), (Shape{3, 8, 20}));
  const std::vector<Image> unlike{wide, Image{10, 10, std::vector<std::uint8_t>(300)}};
  EXPECT_THAT(message_of([&] { loose(unlike); }), HasSubstr("image 1 comes out as 8 x 8"));
}

TEST(ImageProcessor, absent_fields_are_those_of_the_class) {
  const auto vit = ProcessorOf("{}").options();
  EXPECT_EQ(vit.height, 224);
  EXPECT_EQ(vit.resample, Resample::bilinear);
  EXPECT_FALSE(vit.do_center_crop);
  const auto clip = ProcessorOf(R"({"image_processor_type":"CLIPImageProcessorFast"})").options();
  EXPECT_EQ(clip.shortest_edge, 224);
  EXPECT_EQ(clip.resample, Resample::bicubic);
  EXPECT_EQ(clip.image_mean[0], 0.48145466);
  const auto deit =
      ProcessorOf(R"({"feature_extractor_type":"DeiTFeatureExtractor","crop_size":200})").options();
  EXPECT_EQ(deit.height, 256);
  EXPECT_EQ(deit.crop_width, 200);
  EXPECT_EQ(ProcessorOf(R"({"size":96})").options().width, 96);
  EXPECT_EQ(ProcessorOf(R"({"image_processor_type":"CLIPImageProcessor","size":96})").options().shortest_edge,
            96);
  const auto given = ProcessorOf(R"({"size":{"height":10,"width":20},"resample":0,"do_normalize":false,
      "image_mean":[0,0.1,0.2],"rescale_factor":2,"do_pad":false,"processor_class":"X","crop_pct":null})")
                         .options();
  EXPECT_EQ(given.width, 20);
  EXPECT_EQ(given.resample, Resample::nearest);
  EXPECT_EQ(given.image_mean[2], 0.2);
}

TEST(ImageProcessor, fields_that_it_does_not_know_or_cannot_follow_are_named) {
  const auto refusal = [](const std::string& json) { return message_of([&] { ProcessorOf(json).load(); }); };
  EXPECT_THAT(refusal(R"({"crop_pct":0.9})"), HasSubstr("\"crop_pct\""));
  EXPECT_THAT(refusal(R"({"do_pad":true})"), HasSubstr("\"do_pad\""));
  EXPECT_THAT(refusal(R"({"size":{"longest_edge":5}})"), HasSubstr("longest_edge"));
  EXPECT_THAT(refusal(R"({"size":{"height":5}})"), HasSubstr("neither height and width"));
  EXPECT_THAT(refusal(R"({"size":0})"), HasSubstr("1 to 65535"));
  EXPECT_THAT(refusal(R"({"size":-1})"), HasSubstr("1 to 65535"));
  EXPECT_THAT(refusal(R"({"resample":6})"), HasSubstr("resample"));
  EXPECT_THAT(refusal(R"({"image_std":[1,1]})"), HasSubstr("list of 3"));
  EXPECT_THAT(refusal(R"({"image_std":[1,0,1]})"), HasSubstr("has 0"));
  EXPECT_THAT(refusal(R"({"do_resize":1})"), HasSubstr("true or false"));
  EXPECT_THAT(refusal(R"({"image_processor_type":"SamImageProcessor"})"), HasSubstr("Sam"));
  EXPECT_THAT(refusal("[]"), HasSubstr("array"));
}

}  // namespace
}  // namespace headway::io
