#include "text/hub/processors.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "text/hub/characters.h"
#include "text/hub/normalizers.h"
#include "text/utf8.h"

namespace headway::inline v1::text::hub {

void Draft::append(const Draft& other) {
  const auto join = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
  join(encoding.ids, other.encoding.ids);
  join(encoding.type_ids, other.encoding.type_ids);
  join(encoding.offsets, other.encoding.offsets);
  join(encoding.words, other.encoding.words);
  join(encoding.sequences, other.encoding.sequences);
  join(tokens, other.tokens);
  encoding.truncated += other.encoding.truncated;
}

void Draft::append_special(std::int32_t id, std::string_view token, std::int32_t type) {
  encoding.ids.push_back(id);
  encoding.type_ids.push_back(type);
  encoding.offsets.push_back({});
  encoding.words.push_back(-1);
  encoding.sequences.push_back(-1);
  tokens.push_back(token);
}

void Draft::set_type(std::int32_t type) {
  std::fill(encoding.type_ids.begin(), encoding.type_ids.end(), type);
}

void Draft::keep(std::size_t begin, std::size_t end) {
  encoding.truncated += size() - (end - begin);
  const auto cut = [&](auto& values) {
    values.erase(values.begin() + static_cast<std::ptrdiff_t>(end), values.end());
    values.erase(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(begin));
  };
  cut(encoding.ids);
  cut(encoding.type_ids);
  cut(encoding.offsets);
  cut(encoding.words);
  cut(encoding.sequences);
  cut(tokens);
}

namespace {

bool is_blank(char32_t c) { return c == letter_of_byte(' ') || is_white(c); }

// Offsets count in code points here, as in `tokenizers`: a blank may be the normal form of a longer
// character.
std::size_t forward(std::string_view text, std::size_t at, std::size_t end, std::size_t count) {
  for (; count > 0 && at < end; --count) next_code_point(text, at);
  return std::min(at, end);
}

std::size_t back(std::string_view text, std::size_t at, std::size_t begin, std::size_t count) {
  for (; count > 0 && at > begin; --count) {
    --at;
    while (at > begin && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  }
  return std::max(at, begin);
}

// Leaves blanks at either end of a token out of its offsets.
void trim(Draft& draft, bool prefix) {
  for (std::size_t i = 0; i < draft.size(); ++i) {
    const std::string_view token = draft.tokens[i];
    std::size_t leading = 0;
    std::size_t trailing = 0;
    bool only = true;
    for (std::size_t at = 0; at < token.size();) {
      const bool blank = is_blank(next_code_point(token, at));
      only = only && blank;
      leading += only ? 1 : 0;
      trailing = blank ? trailing + 1 : 0;
    }
    Encoding::Range& range = draft.encoding.offsets[i];
    if (leading > 0) {
      const bool first = i == 0 || range.begin == 0;
      if (first && prefix && leading == 1) leading = 0;  // the blank was put there
      range.begin = forward(draft.text, range.begin, range.end, leading);
    }
    if (trailing > 0) range.end = back(draft.text, range.end, range.begin, trailing);
  }
}

struct NamedId {
  std::string token;
  std::int32_t id = 0;
};

NamedId read_pair(const Json& json, const std::string& where) {
  if (!json.is_array() || json.size() != 2) fail_format(where, "want a token and its id");
  return {string_of(json[0], where), static_cast<std::int32_t>(integer_of(json[1], where))};
}

// [CLS] A [SEP] B [SEP], or <s> A </s></s> B </s>.
class Classic final : public Processor {
 public:
  Classic(Fields fields, bool roberta) : roberta_(roberta) {
    separator_ = read_pair(fields.at("sep"), fields.where("sep"));
    cls_ = read_pair(fields.at("cls"), fields.where("cls"));
    trim_ = roberta && fields.boolean("trim_offsets", true);
    prefix_ = roberta && fields.boolean("add_prefix_space", true);
    fields.done();
  }
  std::size_t added(bool pair) const override { return pair ? (roberta_ ? 4 : 3) : 2; }
  void apply(std::vector<Draft>& drafts, bool special) const override {
    for (Draft& draft : drafts) {
      if (trim_) trim(draft, prefix_);
      if (roberta_) draft.set_type(0);
    }
    if (!special) return;
    for (std::size_t i = 0; i < drafts.size(); ++i) {
      const std::int32_t type = roberta_ || i == 0 ? 0 : 1;
      Draft around;
      around.text = drafts[i].text;
      if (i == 0) around.append_special(cls_.id, cls_.token, type);
      if (i > 0 && roberta_) around.append_special(separator_.id, separator_.token, type);
      drafts[i].set_type(type);
      around.append(drafts[i]);
      around.append_special(separator_.id, separator_.token, type);
      drafts[i] = std::move(around);
    }
  }

 private:
  bool roberta_, trim_, prefix_;
  NamedId separator_, cls_;
};

class ByteLevel final : public Processor {
 public:
  explicit ByteLevel(Fields fields)
      : trim_(fields.boolean("trim_offsets", true)), prefix_(fields.boolean("add_prefix_space", true)) {
    fields.boolean("use_regex", true);
    fields.done();
  }
  std::size_t added(bool) const override { return 0; }
  void apply(std::vector<Draft>& drafts, bool) const override {
    for (Draft& draft : drafts) {
      if (trim_) trim(draft, prefix_);
    }
  }

 private:
  bool trim_, prefix_;
};

class Template final : public Processor {
 public:
  explicit Template(Fields fields) {
    const Json& specials = fields.at("special_tokens");
    if (!specials.is_object()) fail_format(fields.where("special_tokens"), "want an object");
    for (const auto& [name, value] : specials.items()) {
      Fields special(value, fields.where("special_tokens") + "." + name);
      special.ignore("id");
      const Json& ids = array_of(special.at("ids"), special.where("ids"));
      const Json& tokens = array_of(special.at("tokens"), special.where("tokens"));
      if (ids.size() != tokens.size()) fail_format(special.where(), "has not as many ids as tokens");
      for (std::size_t i = 0; i < ids.size(); ++i) {
        specials_[name].push_back({string_of(tokens[i], special.where("tokens")),
                                   static_cast<std::int32_t>(integer_of(ids[i], special.where("ids")))});
      }
      special.done();
    }
    single_ = read(fields.at("single"), fields.where("single"));
    pair_ = read(fields.at("pair"), fields.where("pair"));
    fields.done();
  }
  std::size_t added(bool pair) const override {
    std::size_t count = 0;
    for (const Part& part : pair ? pair_ : single_) count += part.tokens == nullptr ? 0 : part.tokens->size();
    return count;
  }
  void apply(std::vector<Draft>& drafts, bool special) const override {
    std::vector<Draft> out;
    for (const Part& part : drafts.size() > 1 ? pair_ : single_) {
      if (part.tokens == nullptr) {
        if (part.sequence >= drafts.size()) continue;
        out.push_back(drafts[part.sequence]);
        out.back().set_type(part.type);
      } else if (special) {
        out.emplace_back();
        for (const NamedId& token : *part.tokens) out.back().append_special(token.id, token.token, part.type);
      }
    }
    drafts = std::move(out);
  }

 private:
  struct Part {
    std::size_t sequence = 0;
    std::int32_t type = 0;
    const std::vector<NamedId>* tokens = nullptr;  // of a special part
  };
  std::vector<Part> read(const Json& json, const std::string& where) {
    std::vector<Part> parts;
    for (const Json& entry : array_of(json, where)) {
      Fields fields(entry, fmt::format("{}[{}]", where, parts.size()));
      const bool special = fields.has("SpecialToken");
      const std::string kind = special ? "SpecialToken" : "Sequence";
      Fields inner(fields.at(kind), fields.where(kind));
      fields.done();
      Part part;
      const std::string id = inner.string("id");
      part.type = inner.has("type_id") ? static_cast<std::int32_t>(inner.integer("type_id", 0, kMaxId)) : 0;
      inner.done();
      if (special) {
        const auto found = specials_.find(id);
        if (found == specials_.end())
          fail_format(inner.where(), fmt::format("'{}' is none of special_tokens", id));
        part.tokens = &found->second;
      } else {
        if (id != "A" && id != "B") fail_format(inner.where(), fmt::format("sequence '{}'; want A or B", id));
        part.sequence = id == "A" ? 0 : 1;
      }
      parts.push_back(part);
    }
    return parts;
  }

  std::map<std::string, std::vector<NamedId>> specials_;
  std::vector<Part> single_, pair_;
};

class Sequence final : public Processor {
 public:
  explicit Sequence(Fields fields) {
    const Json& steps = array_of(fields.at("processors"), fields.where("processors"));
    for (std::size_t i = 0; i < steps.size(); ++i) {
      steps_.push_back(read_processor(steps[i], fmt::format("{}[{}]", fields.where("processors"), i)));
    }
    fields.done();
  }
  std::size_t added(bool pair) const override {
    std::size_t count = 0;
    for (const auto& step : steps_) count += step->added(pair);
    return count;
  }
  void apply(std::vector<Draft>& drafts, bool special) const override {
    for (const auto& step : steps_) step->apply(drafts, special);
  }

 private:
  std::vector<std::shared_ptr<const Processor>> steps_;
};

}  // namespace

std::shared_ptr<const Processor> read_processor(const Json& json, const std::string& where) {
  Fields fields(json, where);
  const std::string type = fields.string("type");
  if (type == "TemplateProcessing") return std::make_shared<Template>(fields);
  if (type == "BertProcessing") return std::make_shared<Classic>(fields, false);
  if (type == "RobertaProcessing") return std::make_shared<Classic>(fields, true);
  if (type == "ByteLevel") return std::make_shared<ByteLevel>(fields);
  if (type == "Sequence") return std::make_shared<Sequence>(fields);
  fail_unsupported(where, fmt::format("type '{}' is not known", type));
}

}  // namespace headway::inline v1::text::hub
