#include <fmt/format.h>

#include <cmath>
#include <utility>

#include <headway/core/error.h>

#include "text/hub/tokenizer_impl.h"
#include "text/utf8.h"

namespace headway::inline v1::text::hub {
namespace {

Truncation read_truncation(const Json& json, const std::string& where) {
  Fields fields(json, where);
  Truncation truncation;
  truncation.max_length = fields.integer("max_length", 0, kMaxId);
  const std::string strategy = fields.string("strategy", "LongestFirst");
  if (strategy == "OnlyFirst") {
    truncation.strategy = TruncationStrategy::only_first;
  } else if (strategy == "OnlySecond") {
    truncation.strategy = TruncationStrategy::only_second;
  } else if (strategy != "LongestFirst") {
    fail_unsupported(fields.where("strategy"), fmt::format("'{}' is not known", strategy));
  }
  const std::string direction = fields.string("direction", "Right");
  if (direction != "Left" && direction != "Right") {
    fail_unsupported(fields.where("direction"), fmt::format("'{}' is not known", direction));
  }
  truncation.left = direction == "Left";
  fields.ignore("stride");  // of the parts that are cut off, which are not kept
  fields.done();
  return truncation;
}

// The value of `name` in a configuration, where it is no object's field.
const Json* field(const Json& json, std::string_view name) {
  if (!json.is_object()) return nullptr;
  const auto found = json.find(name);
  return found == json.end() || found->is_null() ? nullptr : &*found;
}

std::string template_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return "";
  for (const Json& entry : value) {  // several, by name
    const Json* name = field(entry, "name");
    const Json* text = field(entry, "template");
    if (name != nullptr && text != nullptr && text->is_string() && *name == "default")
      return text->get<std::string>();
  }
  return "";
}

}  // namespace

std::shared_ptr<HubTokenizer::Impl> assemble(const Json& json, const std::string& what) {
  Fields fields(json, what);
  fields.string("version", "1.0");
  auto impl = std::make_shared<HubTokenizer::Impl>();
  if (const Json* value = fields.find("normalizer"))
    impl->normalizer = read_normalizer(*value, fields.where("normalizer"));
  std::shared_ptr<PreTokenizer> pre_tokenizer;
  if (const Json* value = fields.find("pre_tokenizer"))
    pre_tokenizer = read_pre_tokenizer(*value, fields.where("pre_tokenizer"));
  const auto model = read_model(fields.at("model"), fields.where("model"));
  if (pre_tokenizer != nullptr && pre_tokenizer->ends_in_letters() && model->take_bytes())
    pre_tokenizer->skip_letters();
  impl->pre_tokenizer = pre_tokenizer;
  impl->model = model;
  if (const Json* value = fields.find("post_processor"))
    impl->processor = read_processor(*value, fields.where("post_processor"));
  if (const Json* value = fields.find("decoder"))
    impl->decoder = read_decoder(*value, fields.where("decoder"));
  if (const Json* value = fields.find("truncation"))
    impl->truncation = read_truncation(*value, fields.where("truncation"));
  fields.ignore("padding");  // batches here are packed, so nothing is padded
  if (const Json* value = fields.find("added_tokens")) {
    auto tokens = read_added_tokens(*value, fields.where("added_tokens"));
    for (AddedToken& token : tokens) {
      // A token that the model has keeps the model's id, whatever the file says.
      const std::int32_t known = model->tokens().find(token.content);
      if (known >= 0) token.id = known;
    }
    impl->added = AddedTokens(std::move(tokens), impl->normalizer.get());
  }
  fields.done();
  if (model->unknown() >= 0) impl->special.unknown = model->unknown();
  return impl;
}

std::optional<std::string> special_token(const Config& config, std::string_view name) {
  for (const Json* json : {&config.tokenizer_config, &config.special_tokens_map}) {
    const Json* value = field(*json, name);
    if (value != nullptr && value->is_object()) value = field(*value, "content");
    if (value != nullptr && value->is_string()) return value->get<std::string>();
  }
  return std::nullopt;
}

bool flag(const Config& config, std::string_view name, bool otherwise) {
  const Json* value = field(config.tokenizer_config, name);
  return value != nullptr && value->is_boolean() ? value->get<bool>() : otherwise;
}

void configure(HubTokenizer::Impl& impl, const Config& config) {
  const auto set = [&](std::string_view name, std::optional<std::int32_t>& to) {
    const auto token = special_token(config, name);
    const std::int32_t id = token ? impl.id(*token) : -1;
    if (id >= 0) to = id;
  };
  SpecialTokens& special = impl.special;
  set("bos_token", special.bos);
  set("eos_token", special.eos);
  set("pad_token", special.padding);
  set("unk_token", special.unknown);
  set("cls_token", special.cls);
  set("sep_token", special.separator);
  set("mask_token", special.mask);
  if (const Json* value = field(config.tokenizer_config, "chat_template"))
    impl.chat_template = template_of(*value);
  if (!config.chat_template.empty()) impl.chat_template = config.chat_template;
  if (const Json* value = field(config.tokenizer_config, "model_max_length")) {
    const double length = value->is_number() ? value->get<double>() : 0;
    if (length >= 1 && length < 1e15)
      impl.model_max_length = static_cast<std::int64_t>(length);  // 1e30 says: none
  }
  find_ends(impl);
}

void find_ends(HubTokenizer::Impl& impl) {
  if (impl.special.eos &&
      std::find(impl.end_ids.begin(), impl.end_ids.end(), *impl.special.eos) == impl.end_ids.end()) {
    impl.end_ids.insert(impl.end_ids.begin(), *impl.special.eos);
  }
  if (!impl.special.bos || impl.processor == nullptr) return;
  std::vector<Draft> drafts(1);
  impl.processor->apply(drafts, true);
  for (const Draft& draft : drafts) {
    if (draft.size() == 0) continue;
    impl.adds_bos = draft.encoding.ids.front() == *impl.special.bos;
    return;
  }
}

}  // namespace headway::inline v1::text::hub
