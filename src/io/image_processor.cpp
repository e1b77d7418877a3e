#include <headway/io/image_processor.h>

#include <algorithm>
#include <array>
#include <cmath>

#include <headway/core/quote.h>

#include "io/json.h"

namespace headway::inline v1::io {
namespace {

constexpr std::array<double, 3> kClipMean{0.48145466, 0.4578275, 0.40821073},
    kClipStd{0.26862954, 0.26130258, 0.27577711};

// What the classes of transformers do where the file is silent.
ImageProcessorOptions defaults_of(std::string_view type) {
  ImageProcessorOptions o;
  if (type == "ViT") return o;
  o.resample = Resample::bicubic;
  if (type == "Siglip" || type == "Beit") return o;
  o.do_center_crop = true;
  o.height = o.width = 256;
  if (type == "DeiT") return o;
  o.height = o.width = 0;
  o.shortest_edge = 224;
  o.image_mean = kClipMean;
  o.image_std = kClipStd;
  if (type == "CLIP" || type == "Bit") return o;
  fail(ErrorCode::unsupported, "read_preprocessor",
       fmt::format("image processors of class \"{}\" are not read; want ViT, DeiT, Beit, CLIP, Bit or Siglip",
                   printable(type)));
}

// "ViT" of "ViTImageProcessorFast" or "ViTFeatureExtractor".
std::string_view family_of(std::string_view type) {
  for (const std::string_view end : {"Fast", "Pil"}) {
    if (type.ends_with(end)) type.remove_suffix(end.size());
  }
  for (const std::string_view end : {"ImageProcessor", "FeatureExtractor"}) {
    if (type.ends_with(end)) type.remove_suffix(end.size());
  }
  return type;
}

class ConfigReader {
 public:
  ConfigReader(const Json& json, const std::string& what) : json_(json), what_(what) {
    if (!json.is_object()) refuse(fmt::format("is {}; want an object", json.type_name()));
  }

  ImageProcessorOptions read() {
    std::string type = "ViTImageProcessor";
    for (const char* key : {"feature_extractor_type", "image_processor_type"}) {
      if (const Json* value = find(key)) type = text(key, *value);
    }
    ImageProcessorOptions o = defaults_of(family_of(type));
    square_ = o.shortest_edge == 0;
    flag("do_resize", o.do_resize);
    flag("do_center_crop", o.do_center_crop);
    flag("do_rescale", o.do_rescale);
    flag("do_normalize", o.do_normalize);
    bool inert = false;  // images are RGB here
    flag("do_convert_rgb", inert);
    flag("default_to_square", square_);
    if (const Json* size = find("size")) read_size(*size, o);
    if (const Json* size = find("crop_size")) read_crop(*size, o);
    if (const Json* filter = find("resample")) {
      o.resample = static_cast<Resample>(integer("resample", *filter, 0, 5));
    }
    if (const Json* factor = find("rescale_factor")) o.rescale_factor = number("rescale_factor", *factor);
    channels("image_mean", o.image_mean);
    channels("image_std", o.image_std);
    if (std::any_of(o.image_std.begin(), o.image_std.end(), [](double s) { return s == 0; })) {
      refuse("has 0 in \"image_std\"");
    }
    refuse_others();
    return o;
  }

 private:
  [[noreturn]] void refuse(std::string_view message, ErrorCode code = ErrorCode::format) const {
    fail(code, "read_preprocessor", fmt::format("{} {}", what_, message));
  }

  // A field that is null is one that is not there.
  const Json* find(const char* key) {
    known_.insert(key);
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

  std::string text(const char* key, const Json& value) const {
    if (!value.is_string()) refuse(fmt::format("has {} for \"{}\"; want a text", value.type_name(), key));
    return value.get<std::string>();
  }

  void flag(const char* key, bool& out) {
    const Json* value = find(key);
    if (!value) return;
    if (!value->is_boolean()) {
      refuse(fmt::format("has {} for \"{}\"; want true or false", value->type_name(), key));
    }
    out = value->get<bool>();
  }

  std::int64_t integer(const char* key, const Json& value, std::int64_t least, std::int64_t most) const {
    const bool fits = value.is_number_unsigned() &&
                      value.get<std::uint64_t>() <= static_cast<std::uint64_t>(most) &&
                      value.get<std::int64_t>() >= least;
    if (!fits) refuse(fmt::format("has no integer from {} to {} for \"{}\"", least, most, key));
    return value.get<std::int64_t>();
  }

  double number(const char* key, const Json& value) const {
    if (!value.is_number()) refuse(fmt::format("has {} for \"{}\"; want a number", value.type_name(), key));
    return value.get<double>();
  }

  std::int64_t side(const char* key, const Json& value) const { return integer(key, value, 1, 65535); }

  void channels(const char* key, std::array<double, 3>& out) {
    const Json* value = find(key);
    if (!value) return;
    if (!value->is_array() || value->size() != out.size())
      refuse(fmt::format("has no list of 3 for \"{}\"", key));
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = number(key, (*value)[i]);
  }

  // 224, {"height": 224, "width": 224} or {"shortest_edge": 224}.
  void read_size(const Json& size, ImageProcessorOptions& o) const {
    o.height = o.width = o.shortest_edge = 0;
    if (!size.is_object()) {
      (square_ ? o.height : o.shortest_edge) = side("size", size);
      o.width = o.height;
      return;
    }
    for (const auto& [key, value] : size.items()) {
      if (value.is_null()) continue;
      if (key == "height") {
        o.height = side("height", value);
      } else if (key == "width") {
        o.width = side("width", value);
      } else if (key == "shortest_edge") {
        o.shortest_edge = side("shortest_edge", value);
      } else {
        refuse(fmt::format("asks for \"{}\" in \"size\", which is not supported", printable(key)),
               ErrorCode::unsupported);
      }
    }
    const bool both = o.height > 0 && o.width > 0, none = o.height == 0 && o.width == 0;
    if (o.shortest_edge > 0 ? !none : !both) {
      refuse("has a \"size\" that is neither height and width nor shortest_edge");
    }
  }

  void read_crop(const Json& size, ImageProcessorOptions& o) const {
    if (!size.is_object()) {
      o.crop_height = o.crop_width = side("crop_size", size);
      return;
    }
    if (!size.contains("height") || !size.contains("width") || size.size() != 2) {
      refuse("has a \"crop_size\" that is not height and width");
    }
    o.crop_height = side("height", size["height"]);
    o.crop_width = side("width", size["width"]);
  }

  // What says something about Python objects, labels or the order of channels of arrays, is passed over; what
  // is switched off too. Anything else could change the pixels.
  void refuse_others() const {
    constexpr std::array<std::string_view, 10> kInert{"processor_class",
                                                      "_processor_class",
                                                      "_valid_processor_keys",
                                                      "_valid_kwargs_names",
                                                      "input_data_format",
                                                      "return_tensors",
                                                      "device",
                                                      "disable_grouping",
                                                      "reduce_labels",
                                                      "do_reduce_labels"};
    for (const auto& [key, value] : json_.items()) {
      if (known_.contains(key) || std::ranges::find(kInert, key) != kInert.end() || value.is_null()) continue;
      if (value.is_boolean() && !value.get<bool>()) continue;
      if (key == "data_format" && value == "channels_first") continue;
      refuse(fmt::format("has the field \"{}\", whose function is not supported", printable(key)),
             ErrorCode::unsupported);
    }
  }

  const Json& json_;
  std::string what_;
  bool square_ = true;  // what a lone number means as a size
  std::set<std::string, std::less<>> known_;
};

void check(const ImageProcessorOptions& o) {
  const auto refuse = [](std::string_view message) { fail(ErrorCode::value, "ImageProcessor", message); };
  const bool sides = o.height > 0 && o.width > 0;
  if (o.do_resize && !sides && o.shortest_edge <= 0)
    refuse("height, width and shortest_edge are 0; want a size");
  if (o.do_center_crop && (o.crop_height <= 0 || o.crop_width <= 0))
    refuse("the size of the crop is 0; want a size");
}

}  // namespace

ImageProcessor::ImageProcessor(const ImageProcessorOptions& options) : options_(options) { check(options_); }

ImageProcessor ImageProcessor::load(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "preprocessor_config.json";
  const Json json = read_json(path);
  return ImageProcessor(ConfigReader(json, path.string()).read());
}

Image ImageProcessor::sized(const Image& image) const {
  const ImageProcessorOptions& o = options_;
  std::int64_t height = image.height, width = image.width;
  if (o.do_resize && o.shortest_edge > 0) {
    // A float64 quotient, cut: as Python computes int(size * long / short).
    std::int64_t& longer = width <= height ? height : width;
    std::int64_t& shorter = width <= height ? width : height;
    if (shorter < 1) fail(ErrorCode::value, "ImageProcessor", "the image is empty");
    longer = static_cast<std::int64_t>(static_cast<double>(o.shortest_edge * longer) /
                                       static_cast<double>(shorter));
    shorter = o.shortest_edge;
  } else if (o.do_resize) {
    height = o.height;
    width = o.width;
  }
  Image out = o.do_resize ? resize(image, height, width, o.resample) : image;
  return o.do_center_crop ? center_crop(out, o.crop_height, o.crop_width) : out;
}

void ImageProcessor::fill(const Image& image, float* out) const {
  // 256 values a channel, in the roundings of transformers: the product in float64, then float32.
  std::array<std::array<float, 256>, 3> table;
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t value = 0; value < 256; ++value) {
      const auto whole = static_cast<double>(value);
      auto x = static_cast<float>(options_.do_rescale ? whole * options_.rescale_factor : whole);
      if (options_.do_normalize) {
        x = (x - static_cast<float>(options_.image_mean[c])) / static_cast<float>(options_.image_std[c]);
      }
      table[c][value] = x;
    }
  }
  const std::size_t count = image.pixels.size() / 3;
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t i = 0; i < count; ++i) out[c * count + i] = table[c][image.pixels[3 * i + c]];
  }
}

Tensor ImageProcessor::operator()(const Image& image) const {
  const Image ready = sized(image);
  Tensor out = Tensor::empty({3, ready.height, ready.width});
  fill(ready, out.data<float>());
  return out;
}

Tensor ImageProcessor::operator()(std::span<const Image> images) const {
  if (images.empty()) fail(ErrorCode::value, "ImageProcessor", "there is no image; want at least one");
  Tensor out;
  for (std::size_t i = 0; i < images.size(); ++i) {
    const Image ready = sized(images[i]);
    if (i == 0) {
      out = Tensor::empty({static_cast<std::int64_t>(images.size()), 3, ready.height, ready.width});
    } else if (ready.height != out.size(2) || ready.width != out.size(3)) {
      fail(ErrorCode::shape, "ImageProcessor",
           fmt::format("image {} comes out as {} x {}, the first as {} x {}; want one size", i, ready.height,
                       ready.width, out.size(2), out.size(3)));
    }
    fill(ready, out.data<float>() + static_cast<std::int64_t>(i) * out.stride(0));
  }
  return out;
}

}  // namespace headway::inline v1::io
