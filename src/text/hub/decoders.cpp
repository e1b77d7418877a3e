#include "text/hub/decoders.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "text/hub/normalizers.h"
#include "text/hub/pattern.h"
#include "text/utf8.h"

namespace headway::inline v1::text::hub {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  std::size_t at = from.empty() ? std::string::npos : text.find(from);
  if (at == std::string::npos) return;
  std::string out;
  std::size_t done = 0;
  for (; at != std::string::npos; at = text.find(from, done)) {
    out.append(text, done, at - done);
    out.append(to);
    done = at + from.size();
  }
  out.append(text, done);
  text = std::move(out);
}

// English spacing, as WordPiece's and CTC's `cleanup` mend it.
void clean_up(std::string& text) {
  constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) replace_all(text, from, to);
}

class ByteLevel final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::string bytes;
    for (const std::string& token : tokens) {
      const std::size_t begin = bytes.size();
      for (std::size_t at = 0; at < token.size();) {
        const int byte = byte_of_letter(next_code_point(token, at));
        if (byte < 0) {
          bytes.resize(begin);
          bytes += token;
          break;
        }
        bytes.push_back(static_cast<char>(byte));
      }
    }
    tokens.assign(1, lossy_utf8(bytes));
  }
};

class WordPiece final : public Decoder {
 public:
  explicit WordPiece(Fields fields) : prefix_(fields.string("prefix")), clean_(fields.boolean("cleanup")) {
    fields.done();
  }
  void apply(std::vector<std::string>& tokens) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) {
        if (tokens[i].starts_with(prefix_)) {
          tokens[i].erase(0, prefix_.size());
        } else {
          tokens[i].insert(tokens[i].begin(), ' ');
        }
      }
      if (clean_) clean_up(tokens[i]);
    }
  }

 private:
  std::string prefix_;
  bool clean_;
};

class Metaspace final : public Decoder {
 public:
  explicit Metaspace(Fields fields) {
    append_utf8(mark_, fields.character("replacement", U'\u2581'));
    const bool prefix = fields.boolean("add_prefix_space", true);
    first_ = fields.string("prepend_scheme", prefix ? "always" : "never") != "never";
    fields.boolean("split", true);
    fields.ignore("str_rep");
    fields.done();
  }
  void apply(std::vector<std::string>& tokens) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i)
      replace_all(tokens[i], mark_, i == 0 && first_ ? "" : " ");
  }

 private:
  std::string mark_;
  bool first_;
};

class Bpe final : public Decoder {
 public:
  explicit Bpe(Fields fields) : suffix_(fields.string("suffix")) { fields.done(); }
  void apply(std::vector<std::string>& tokens) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i)
      replace_all(tokens[i], suffix_, i + 1 == tokens.size() ? "" : " ");
  }

 private:
  std::string suffix_;
};

class ByteFallback final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::vector<std::string> out;
    std::string bytes;
    const auto flush = [&] {
      if (bytes.empty()) return;
      if (!find_invalid_utf8(bytes)) {
        out.push_back(bytes);
      } else {
        out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
      }
      bytes.clear();
    };
    for (std::string& token : tokens) {
      const int byte = byte_of_token(token);
      if (byte >= 0) {
        bytes.push_back(static_cast<char>(byte));
      } else {
        flush();
        out.push_back(std::move(token));
      }
    }
    flush();
    tokens = std::move(out);
  }
};

class Fuse final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::string all;
    for (const std::string& token : tokens) all += token;
    tokens.assign(1, std::move(all));
  }
};

class Strip final : public Decoder {
 public:
  explicit Strip(Fields fields) {
    append_utf8(content_, fields.character("content", U' '));
    start_ = fields.integer("start", 0, kMaxId);
    stop_ = fields.integer("stop", 0, kMaxId);
    fields.done();
  }
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      std::string_view left = token;
      for (std::int64_t i = 0; i < start_ && left.starts_with(content_); ++i)
        left.remove_prefix(content_.size());
      for (std::int64_t i = 0; i < stop_ && left.ends_with(content_); ++i)
        left.remove_suffix(content_.size());
      if (left.size() != token.size()) token = std::string(left);
    }
  }

 private:
  std::string content_;
  std::int64_t start_, stop_;
};

class Replace final : public Decoder {
 public:
  explicit Replace(Fields fields)
      : pattern_(fields.at("pattern"), fields.where("pattern")), content_(fields.string("content")) {
    fields.done();
  }
  void apply(std::vector<std::string>& tokens) const override {
    std::vector<Span> matches;
    for (std::string& token : tokens) {
      if (pattern_.plain()) {
        replace_all(token, *pattern_.plain(), content_);
        continue;
      }
      matches.clear();
      pattern_.find(token, matches);
      std::string out;
      std::size_t done = 0;
      for (const Span match : matches) {
        out.append(token, done, match.begin - done);
        out += content_;
        done = match.end;
      }
      out.append(token, done);
      token = std::move(out);
    }
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class Ctc final : public Decoder {
 public:
  explicit Ctc(Fields fields)
      : pad_(fields.string("pad_token")),
        word_(fields.string("word_delimiter_token")),
        clean_(fields.boolean("cleanup")) {
    fields.done();
  }
  void apply(std::vector<std::string>& tokens) const override {
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    for (std::string& token : tokens) {
      replace_all(token, pad_, "");
      if (!clean_) continue;
      clean_up(token);
      replace_all(token, word_, " ");
    }
    std::erase_if(tokens, [](const std::string& token) { return token.empty(); });
  }

 private:
  std::string pad_, word_;
  bool clean_;
};

class Sequence final : public Decoder {
 public:
  explicit Sequence(Fields fields) {
    const Json& steps = array_of(fields.at("decoders"), fields.where("decoders"));
    for (std::size_t i = 0; i < steps.size(); ++i) {
      steps_.push_back(read_decoder(steps[i], fmt::format("{}[{}]", fields.where("decoders"), i)));
    }
    fields.done();
  }
  void apply(std::vector<std::string>& tokens) const override {
    for (const auto& step : steps_) step->apply(tokens);
  }

 private:
  std::vector<std::shared_ptr<const Decoder>> steps_;
};

}  // namespace

int byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const char lowered = static_cast<char>(c | 32);
    if (c >= '0' && c <= '9') {
      value = value * 16 + (c - '0');
    } else if (lowered >= 'a' && lowered <= 'f') {
      value = value * 16 + (lowered - 'a' + 10);
    } else {
      return -1;
    }
  }
  return value;
}

std::string lossy_utf8(std::string_view bytes) {
  if (!find_invalid_utf8(bytes)) return std::string(bytes);
  std::string out;
  for (std::size_t at = 0; at < bytes.size();) append_utf8(out, next_code_point(bytes, at));
  return out;
}

std::shared_ptr<const Decoder> read_decoder(const Json& json, const std::string& where) {
  Fields fields(json, where);
  const std::string type = fields.string("type");
  if (type == "ByteLevel") {
    for (const char* name : {"add_prefix_space", "trim_offsets", "use_regex"}) fields.boolean(name, true);
    fields.done();
    return std::make_shared<ByteLevel>();
  }
  if (type == "WordPiece") return std::make_shared<WordPiece>(fields);
  if (type == "Metaspace") return std::make_shared<Metaspace>(fields);
  if (type == "BPEDecoder") return std::make_shared<Bpe>(fields);
  if (type == "Strip") return std::make_shared<Strip>(fields);
  if (type == "Replace") return std::make_shared<Replace>(fields);
  if (type == "CTC") return std::make_shared<Ctc>(fields);
  if (type == "Sequence") return std::make_shared<Sequence>(fields);
  std::shared_ptr<const Decoder> made;
  if (type == "ByteFallback") made = std::make_shared<ByteFallback>();
  if (type == "Fuse") made = std::make_shared<Fuse>();
  if (made == nullptr) fail_unsupported(where, fmt::format("type '{}' is not known", type));
  fields.done();
  return made;
}

}  // namespace headway::inline v1::text::hub
