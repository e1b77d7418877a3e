#include "hub/config.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include <headway/attention/rope_scaling.h>
#include <headway/core/error.h>
#include <headway/core/quote.h>

namespace headway::inline v1::hub {
namespace {
using nlohmann::json;

// Activations by the names that transformers gives them.
struct Named {
  std::string_view name;
  nn::FeedForwardKind plain;
  std::optional<nn::FeedForwardKind> gated;
  nn::HeadActivation head;
};
constexpr Named kActivations[] = {
    {"relu", nn::FeedForwardKind::relu, nn::FeedForwardKind::reglu, nn::HeadActivation::relu},
    {"gelu", nn::FeedForwardKind::gelu, nn::FeedForwardKind::geglu, nn::HeadActivation::gelu},
    {"gelu_python", nn::FeedForwardKind::gelu, nn::FeedForwardKind::geglu, nn::HeadActivation::gelu},
    {"gelu_new", nn::FeedForwardKind::gelu_tanh, nn::FeedForwardKind::geglu_tanh,
     nn::HeadActivation::gelu_tanh},
    {"gelu_pytorch_tanh", nn::FeedForwardKind::gelu_tanh, nn::FeedForwardKind::geglu_tanh,
     nn::HeadActivation::gelu_tanh},
    {"gelu_python_tanh", nn::FeedForwardKind::gelu_tanh, nn::FeedForwardKind::geglu_tanh,
     nn::HeadActivation::gelu_tanh},
    {"gelu_fast", nn::FeedForwardKind::gelu_tanh, nn::FeedForwardKind::geglu_tanh,
     nn::HeadActivation::gelu_tanh},
    {"gelu_accurate", nn::FeedForwardKind::gelu_tanh, nn::FeedForwardKind::geglu_tanh,
     nn::HeadActivation::gelu_tanh},
    {"silu", nn::FeedForwardKind::silu, nn::FeedForwardKind::swiglu, nn::HeadActivation::silu},
    {"swish", nn::FeedForwardKind::silu, nn::FeedForwardKind::swiglu, nn::HeadActivation::silu},
    {"quick_gelu", nn::FeedForwardKind::quick_gelu, nn::FeedForwardKind::quick_geglu,
     nn::HeadActivation::quick_gelu},
    {"relu2", nn::FeedForwardKind::relu2, nn::FeedForwardKind::reglu2, nn::HeadActivation::relu2},
};

const Named* activation_named(const std::string& name) {
  const auto* found = std::find_if(std::begin(kActivations), std::end(kActivations),
                                   [&](const Named& a) { return a.name == name; });
  return found == std::end(kActivations) ? nullptr : found;
}

constexpr std::string_view kKnownActivations =
    "relu, relu2, gelu, gelu_new, gelu_pytorch_tanh, quick_gelu or silu";

}  // namespace

Config::Config(std::string_view text, std::string what) : what_(std::move(what)) {
  json_ = json::parse(text, nullptr, false);
  if (json_.is_discarded() || !json_.is_object())
    fail(ErrorCode::format, what_, "is not a JSON object; want a model's config.json");
}

const json* Config::find(const std::string& field) {
  read_.insert(field);
  const auto found = json_.find(field);
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

bool Config::has(const std::string& field) const {
  const auto found = json_.find(field);
  return found != json_.end() && !found->is_null();
}

const json& Config::at(const std::string& field) {
  const json* found = find(field);
  if (!found) fail(ErrorCode::format, what_, fmt::format("has no {}", field));
  return *found;
}

void Config::refuse(const std::string& field, std::string_view wanted) const {
  const auto found = json_.find(field);
  const std::string got = found == json_.end() ? "absent" : printable(found->dump(), 60);
  fail(ErrorCode::unsupported, what_, fmt::format("{} is {}; want {}", field, got, wanted));
}

template <typename T>
T Config::read(const std::string& field, const std::optional<T>& otherwise, bool (json::*is)() const noexcept,
               const char* wanted) {
  const json* found = find(field);
  if (!found) {
    if (otherwise) return *otherwise;
    fail(ErrorCode::format, what_, fmt::format("has no {}; want {}", field, wanted));
  }
  if (!(found->*is)()) refuse(field, wanted);
  return found->get<T>();
}

std::int64_t Config::integer(const std::string& field, std::optional<std::int64_t> otherwise) {
  const auto value = read<std::int64_t>(field, otherwise, &json::is_number_integer, "a whole number");
  // Larger sizes are damage, and would overflow products of two of them.
  if (value > (std::int64_t{1} << 31)) refuse(field, "a number below 2^31");
  return value;
}
double Config::number(const std::string& field, std::optional<double> otherwise) {
  return read<double>(field, otherwise, &json::is_number, "a number");
}
bool Config::boolean(const std::string& field, std::optional<bool> otherwise) {
  return read<bool>(field, otherwise, &json::is_boolean, "true or false");
}
std::string Config::text(const std::string& field, std::optional<std::string> otherwise) {
  return read<std::string>(field, otherwise, &json::is_string, "text");
}

std::vector<std::int64_t> Config::integers(const std::string& field) {
  const json* found = find(field);
  if (!found) return {};
  if (found->is_number_integer()) return {found->get<std::int64_t>()};
  if (!found->is_array()) refuse(field, "a list of whole numbers");
  std::vector<std::int64_t> out;
  for (const json& value : *found) {
    if (!value.is_number_integer()) refuse(field, "a list of whole numbers");
    out.push_back(value.get<std::int64_t>());
  }
  return out;
}

std::vector<std::string> Config::texts(const std::string& field) {
  const json* found = find(field);
  if (!found) return {};
  if (!found->is_array()) refuse(field, "a list of texts");
  std::vector<std::string> out;
  for (const json& value : *found) {
    if (!value.is_string()) refuse(field, "a list of texts");
    out.push_back(value.get<std::string>());
  }
  return out;
}

std::string Config::first_of(std::initializer_list<const char*> fields) const {
  for (const char* field : fields) {
    if (has(field)) return field;
  }
  return *fields.begin();
}

void Config::only(const std::string& field, std::initializer_list<json> values) {
  const json* found = find(field);
  if (!found || std::find(values.begin(), values.end(), *found) != values.end()) return;
  std::string wanted;
  for (const json& value : values) wanted += (wanted.empty() ? "" : " or ") + value.dump();
  refuse(field, wanted);
}

void Config::ignore(std::initializer_list<const char*> fields) {
  for (const char* field : fields) read_.insert(field);
}

std::vector<std::string> Config::unread() const {
  std::vector<std::string> out;
  for (const auto& [field, value] : json_.items()) {
    if (!read_.contains(field)) out.push_back(field);
  }
  return out;
}

nn::FeedForwardKind Config::feed_forward(const std::string& field, bool gated, const std::string& otherwise) {
  return feed_forward_named(field, text(field, otherwise), gated);
}

nn::FeedForwardKind Config::feed_forward_named(const std::string& field, const std::string& name,
                                               bool gated) {
  const Named* found = activation_named(name);
  if (!found) refuse(field, kKnownActivations);
  return gated ? *found->gated : found->plain;
}

nn::HeadActivation Config::head_activation(const std::string& field, const std::string& otherwise) {
  const std::string name = text(field, otherwise);
  if (name == "tanh") return nn::HeadActivation::tanh;
  const Named* found = activation_named(name);
  if (!found) refuse(field, "tanh, " + std::string(kKnownActivations));
  return found->head;
}

std::int64_t Config::labels() {
  if (const json* names = find("id2label"); names && names->is_object())
    return static_cast<std::int64_t>(names->size());
  return integer("num_labels", 2);
}

std::string Config::architecture() {
  const std::vector<std::string> names = texts("architectures");
  return names.empty() ? std::string() : names.front();
}

RopeOptions Config::rope(std::int64_t dims, double base, const std::string& kind) {
  // transformers 5: rope_parameters, of all layers or by layer type; before: rope_theta and rope_scaling.
  if (const json* parameters = find("rope_parameters")) {
    const json* fields = parameters;
    if (!kind.empty() && parameters->is_object() && parameters->contains(kind)) fields = &(*parameters)[kind];
    if (!fields->is_object()) refuse("rope_parameters", "an object");
    const auto theta = fields->find("rope_theta");
    if (theta != fields->end() && theta->is_number()) base = theta->get<double>();
    return scaled_rope(*fields, dims, base, "rope_parameters");
  }
  base = number("rope_theta", base);
  const json* scaling = find("rope_scaling");
  if (!scaling) return unscaled_rope(dims, base);
  if (!scaling->is_object()) refuse("rope_scaling", "an object");
  return scaled_rope(*scaling, dims, base, "rope_scaling");
}

RopeOptions Config::unscaled_rope(std::int64_t dims, double base) const {
  RopeOptions rope{.base = base};
  if (rope_factors.empty()) return rope;
  rope.inverse_frequencies = rope_frequencies(base, dims);
  if (rope_factors.size() != rope.inverse_frequencies.size()) {
    fail(ErrorCode::format, what_,
         fmt::format("{} rope factors for {} columns of a head; want half as many", rope_factors.size(),
                     dims));
  }
  for (std::size_t m = 0; m < rope_factors.size(); ++m) rope.inverse_frequencies[m] /= rope_factors[m];
  return rope;
}

RopeOptions Config::scaled_rope(const json& fields, std::int64_t dims, double base,
                                const std::string& where) {
  const auto number_of = [&](const char* name, std::optional<double> otherwise) -> double {
    const auto found = fields.find(name);
    if (found != fields.end() && found->is_number()) return found->get<double>();
    if (!otherwise || (found != fields.end() && !found->is_null()))
      refuse(where, fmt::format("a number {}", name));
    return *otherwise;
  };
  if (number_of("partial_rotary_factor", 1) != 1) refuse(where, "partial_rotary_factor 1");
  std::string type = "default";
  for (const char* name : {"type", "rope_type"}) {
    if (fields.contains(name) && fields[name].is_string()) type = fields[name].get<std::string>();
  }
  const auto length = [&] {
    const double trained = static_cast<double>(integer("max_position_embeddings", 0));
    return static_cast<std::int64_t>(number_of("original_max_position_embeddings", trained));
  };
  if (type == "default") return unscaled_rope(dims, base);
  if (type == "linear") return rope_linear(base, dims, number_of("factor", {}));
  if (type == "llama3") {
    return rope_llama3(base, dims,
                       {.factor = number_of("factor", {}),
                        .low_frequency_factor = number_of("low_freq_factor", {}),
                        .high_frequency_factor = number_of("high_freq_factor", {}),
                        .original_length = length()});
  }
  if (type != "yarn") refuse(where, "rope_type default, linear, yarn or llama3");
  YarnOptions yarn{.original_length = length(),
                   .beta_fast = number_of("beta_fast", 32),
                   .beta_slow = number_of("beta_slow", 1)};
  const double reach = static_cast<double>(integer("max_position_embeddings", 0));
  yarn.factor =
      number_of("factor", reach / static_cast<double>(std::max<std::int64_t>(1, yarn.original_length)));
  if (fields.contains("truncate") && fields["truncate"].is_boolean())
    yarn.truncate = fields["truncate"].get<bool>();
  const double scale = number_of("mscale", 0), scale_all = number_of("mscale_all_dim", 0);
  const auto attention = [&](double m) { return yarn.factor <= 1 ? 1 : 0.1 * m * std::log(yarn.factor) + 1; };
  if (fields.contains("attention_factor") && fields["attention_factor"].is_number()) {
    yarn.attention_factor = fields["attention_factor"].get<double>();
  } else if (scale != 0 && scale_all != 0) {
    yarn.attention_factor = attention(scale) / attention(scale_all);
  }
  return rope_yarn(base, dims, yarn);
}

}  // namespace headway::inline v1::hub
