#pragma once
#include <sentencepiece_processor.h>

#include <string>
#include <string_view>

#include <headway/text/tokenizer.h>

namespace headway::inline v1::text {

struct Tokenizer::Impl {
  sentencepiece::SentencePieceProcessor processor;
  std::string bytes;  // sealed
};

/// A model with the checksum at its end; Error(format) from unseal() when it is missing or does not fit.
std::string seal(std::string model);
std::string_view unseal(std::string_view bytes);

}  // namespace headway::inline v1::text
