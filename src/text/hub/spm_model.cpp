#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <utility>

#include "text/hub/converters.h"
#include "text/utf8.h"

namespace headway::inline v1::text::hub {
namespace {

// Protocol Buffers' wire format (protobuf.dev/programming-guides/encoding): fields of a number, a type, a
// value.
class Message {
 public:
  Message(std::string_view bytes, const std::string& what) : bytes_(bytes), what_(&what) {}

  bool next() {
    if (at_ >= bytes_.size()) return false;
    const std::uint64_t key = varint();
    number_ = key >> 3;
    kind_ = key & 7;
    switch (kind_) {
      case 0:
        value_ = varint();
        break;
      case 1:
        value_ = fixed(8);
        break;
      case 2: {
        const std::uint64_t size = varint();
        if (size > bytes_.size() - at_) damaged("a field ends beyond the file");
        content_ = bytes_.substr(at_, static_cast<std::size_t>(size));
        at_ += static_cast<std::size_t>(size);
        break;
      }
      case 5:
        value_ = fixed(4);
        break;
      default:
        damaged("an unknown wire type");
    }
    return true;
  }
  std::uint64_t number() const { return number_; }
  bool is_content() const { return kind_ == 2; }
  std::string_view content() const {
    if (kind_ != 2) damaged("a number where bytes are due");
    return content_;
  }
  std::uint64_t value() const {
    if (kind_ == 2) damaged("bytes where a number is due");
    return value_;
  }
  float real() const {
    if (kind_ != 5) damaged("no 32-bit number where one is due");
    return std::bit_cast<float>(static_cast<std::uint32_t>(value_));
  }
  [[noreturn]] void damaged(std::string_view why) const {
    fail_format(*what_, fmt::format("is no SentencePiece model: {} at byte {}", why, at_));
  }

 private:
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ >= bytes_.size()) damaged("it ends within a number");
      const auto byte = static_cast<unsigned char>(bytes_[at_++]);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    damaged("a number of more than 64 bits");
  }
  std::uint64_t fixed(std::size_t size) {
    if (size > bytes_.size() - at_) damaged("it ends within a number");
    std::uint64_t value = 0;
    for (std::size_t i = size; i > 0; --i)
      value = value << 8 | static_cast<unsigned char>(bytes_[at_ + i - 1]);
    at_ += size;
    return value;
  }

  std::string_view bytes_;
  const std::string* what_;
  std::size_t at_ = 0;
  std::uint64_t number_ = 0;
  std::uint64_t kind_ = 0;
  std::uint64_t value_ = 0;
  std::string_view content_;
};

SpmPiece read_piece(Message message) {
  SpmPiece piece;
  while (message.next()) {
    if (message.number() == 1) piece.piece = message.content();
    if (message.number() == 2) piece.score = message.real();
    if (message.number() == 3) {
      const std::uint64_t type = message.value();
      if (type < 1 || type > 6) message.damaged("a piece of an unknown type");
      piece.type = static_cast<SpmPieceType>(type);
    }
  }
  if (find_invalid_utf8(piece.piece)) message.damaged("a piece that is not valid UTF-8");
  if (!std::isfinite(piece.score)) message.damaged("a score that is not finite");
  return piece;
}

}  // namespace

std::int32_t SpmModel::find(SpmPieceType type) const {
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].type == type) return static_cast<std::int32_t>(i);
  }
  return -1;
}

SpmModel read_spm(std::string_view bytes, const std::string& what) {
  SpmModel model;
  Message message(bytes, what);
  while (message.next()) {
    if (message.number() == 1) {
      model.pieces.push_back(read_piece(Message(message.content(), what)));
    } else if (message.number() == 2) {
      Message trainer(message.content(), what);
      while (trainer.next()) {
        if (trainer.number() == 3) {
          const std::uint64_t kind = trainer.value();
          if (kind < 1 || kind > 4) trainer.damaged("an unknown kind of model");
          model.kind = static_cast<SpmModel::Kind>(kind);
        }
        if (trainer.number() == 35) model.byte_fallback = trainer.value() != 0;
      }
    } else if (message.number() == 3) {
      Message normalizer(message.content(), what);
      while (normalizer.next()) {
        if (normalizer.number() == 2) model.charsmap = normalizer.content();
        if (normalizer.number() == 3) model.add_dummy_prefix = normalizer.value() != 0;
        if (normalizer.number() == 4) model.remove_extra_whitespaces = normalizer.value() != 0;
      }
    }
  }
  if (model.pieces.empty()) message.damaged("it has no pieces");
  if (model.kind != SpmModel::Kind::unigram && model.kind != SpmModel::Kind::bpe) {
    fail_unsupported(what, "is a model of whole words or characters; want unigram or BPE");
  }
  return model;
}

}  // namespace headway::inline v1::text::hub
