#include <headway/text/tokenizer.h>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/parallel.h>
#include <headway/core/quote.h>

#include "text/file.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

namespace headway::inline v1::text {
namespace {

// A protobuf field of its own, number 1000 (ModelProto leaves 200 and above to extensions), of 64 bits:
// readers that do not know it skip it. Tag = 1000·8 + 1 as a varint, then FNV-1a of all bytes before the tag,
// little endian.
constexpr std::string_view kSealTag("\xC1\x3E", 2);
constexpr std::size_t kSealBytes = 10;

std::string checksum(std::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  std::string out;
  for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>(hash >> (8 * i)));
  return out;
}

void load_processor(sentencepiece::SentencePieceProcessor& processor, std::string_view model) {
  const auto status = processor.LoadFromSerializedProto(model);
  if (!status.ok()) {
    fail(ErrorCode::format, "tokenizer",
         fmt::format("model is damaged ({}); want a SentencePiece model", status.message()));
  }
  if (processor.pad_id() != kPad || processor.bos_id() != kBos || processor.eos_id() != kEos ||
      processor.unk_id() != kUnknown) {
    fail(ErrorCode::unsupported, "tokenizer",
         fmt::format("model has padding, begin, end, unknown at {}, {}, {}, {}; want 0, 1, 2, 3",
                     processor.pad_id(), processor.bos_id(), processor.eos_id(), processor.unk_id()));
  }
}

}  // namespace

std::string seal(std::string model) {
  const std::string sum = checksum(model);
  model += kSealTag;
  model += sum;
  return model;
}

std::string_view unseal(std::string_view bytes) {
  if (bytes.size() > kSealBytes) {
    const auto model = bytes.substr(0, bytes.size() - kSealBytes);
    if (bytes.substr(model.size()) == std::string(kSealTag) + checksum(model)) return model;
  }
  fail(ErrorCode::format, "tokenizer",
       fmt::format(
           "model of {} bytes is truncated, damaged or foreign (its checksum does not fit); want a file that "
           "Tokenizer::save wrote, or import_model for another program's",
           bytes.size()));
}

Tokenizer Tokenizer::from_bytes(std::string bytes) {
  auto impl = std::make_shared<Impl>();
  impl->bytes = std::move(bytes);
  const std::string_view model = unseal(impl->bytes);
  impl->escapes = has_escape_mark(model);
  load_processor(impl->processor, model);
  return Tokenizer(std::move(impl));
}

Tokenizer Tokenizer::load(const std::filesystem::path& file) {
  return from_bytes(read_file(file, "load tokenizer"));
}

Tokenizer Tokenizer::import_model(const std::filesystem::path& file) {
  return from_bytes(seal(read_file(file, "import tokenizer")));
}

void Tokenizer::save(const std::filesystem::path& file) const {
  write_file_atomically(file, impl_->bytes, "save tokenizer");
}

const std::string& Tokenizer::to_bytes() const { return impl_->bytes; }

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  require_utf8(text, "encode", "text");
  std::vector<int> ids;
  const auto status = impl_->processor.Encode(impl_->as_read(text), &ids);
  if (!status.ok()) fail(ErrorCode::internal, "encode", status.message());
  return {ids.begin(), ids.end()};
}

std::vector<std::vector<std::int32_t>> Tokenizer::encode(const std::vector<std::string>& texts) const {
  std::vector<std::vector<std::int32_t>> ids(texts.size());
  core::parallel_for(static_cast<std::int64_t>(texts.size()), [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    if (find_invalid_utf8(texts[at])) require_utf8(texts[at], "encode", fmt::format("text {}", i));
    ids[at] = encode(texts[at]);
  });
  return ids;
}

std::vector<std::string> Tokenizer::encode_pieces(std::string_view text) const {
  require_utf8(text, "encode", "text");
  std::vector<std::string> pieces;
  const auto status = impl_->processor.Encode(impl_->as_read(text), &pieces);
  if (!status.ok()) fail(ErrorCode::internal, "encode", status.message());
  return pieces;
}

std::string Tokenizer::decode(const std::vector<std::int32_t>& ids) const {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size()) {
      fail(ErrorCode::value, "decode",
           fmt::format("token {} is {}; want 0 to {}, the vocabulary", i, ids[i], vocab_size() - 1));
    }
  }
  std::string text;
  const auto status = impl_->processor.Decode(std::vector<int>(ids.begin(), ids.end()), &text);
  if (!status.ok()) fail(ErrorCode::internal, "decode", status.message());
  return impl_->as_written(text);
}

std::int32_t Tokenizer::vocab_size() const { return impl_->processor.GetPieceSize(); }

std::string Tokenizer::piece(std::int32_t id) const {
  if (id < 0 || id >= vocab_size()) {
    fail(ErrorCode::value, "piece", fmt::format("id is {}; want 0 to {}", id, vocab_size() - 1));
  }
  return impl_->processor.IdToPiece(id);
}

std::int32_t Tokenizer::id(std::string_view piece) const { return impl_->processor.PieceToId(piece); }

TokenizerType tokenizer_type(std::string_view name) {
  if (name == "bpe") return TokenizerType::bpe;
  if (name == "unigram") return TokenizerType::unigram;
  if (name == "char") return TokenizerType::characters;
  if (name == "word") return TokenizerType::words;
  fail(ErrorCode::value, "tokenizer",
       fmt::format("type is {}; want bpe, unigram, char or word", quoted(name)));
}

std::string_view name_of(TokenizerType type) {
  switch (type) {
    case TokenizerType::bpe:
      return "bpe";
    case TokenizerType::unigram:
      return "unigram";
    case TokenizerType::characters:
      return "char";
    case TokenizerType::words:
      return "word";
  }
  return "?";
}

}  // namespace headway::inline v1::text
