#include "models/token_check.h"

#include <fmt/format.h>

namespace headway::inline v1::models {
namespace {

void check_offsets(const Tensor& ids, const std::vector<std::int64_t>& offsets, const TokenLimits& limits) {
  if (ids.rank() != 1 || ids.dtype() != DType::int32) {
    fail(ids.rank() == 1 ? ErrorCode::dtype : ErrorCode::shape, limits.operation,
         fmt::format("{} ids are {}; want int32 [N], the sentences one after another", limits.what,
                     ids.describe()));
  }
  if (offsets.size() < 2 || offsets.front() != 0 || offsets.back() != ids.size(0)) {
    fail(ErrorCode::shape, limits.operation,
         fmt::format(
             "{} offsets go from {} to {} in {} entries; want from 0 to {}, one entry more than sentences",
             limits.what, offsets.empty() ? 0 : offsets.front(), offsets.empty() ? 0 : offsets.back(),
             offsets.size(), ids.size(0)));
  }
  for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
    const std::int64_t length = offsets[b + 1] - offsets[b];
    if (length < 0) {
      fail(ErrorCode::value, limits.operation,
           fmt::format("{} offsets fall from {} to {} at entry {}; want them ascending", limits.what,
                       offsets[b], offsets[b + 1], b + 1));
    }
    if (limits.max_length > 0 && length > limits.max_length) {
      fail(ErrorCode::value, limits.operation,
           fmt::format(
               "{} sentence {} has {} tokens; want at most max_length = {}. Split the sentence, or train the "
               "model with a larger max_length",
               limits.what, b, length, limits.max_length));
    }
  }
}

}  // namespace

void check_tokens(const Tensor& ids, const std::vector<std::int64_t>& offsets, const TokenLimits& limits) {
  check_offsets(ids, offsets, limits);
  if (ids.device() == Device::meta) return;
  const auto* id = ids.data<std::int32_t>();
  const std::int64_t stride = ids.stride(0);
  for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
    for (std::int64_t i = offsets[b]; i < offsets[b + 1]; ++i) {
      const std::int32_t token = id[i * stride];
      if (token < 0 || token >= limits.vocabulary) {
        fail(ErrorCode::value, limits.operation,
             fmt::format(
                 "{} token {} at position {} of sentence {} is outside the vocabulary of {}; is this the "
                 "tokenizer the model was trained with?",
                 limits.what, token, i - offsets[b], b, limits.vocabulary));
      }
    }
  }
}

}  // namespace headway::inline v1::models
