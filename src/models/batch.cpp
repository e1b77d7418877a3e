#include <headway/models/batch.h>

#include <fmt/format.h>

#include <headway/core/factory.h>

namespace headway::inline v1::models {

PackedBatch pack(const std::vector<std::vector<std::int32_t>>& sentences) {
  std::vector<std::int32_t> ids;
  PackedBatch out;
  out.offsets.push_back(0);
  for (const std::vector<std::int32_t>& sentence : sentences) {
    ids.insert(ids.end(), sentence.begin(), sentence.end());
    out.offsets.push_back(static_cast<std::int64_t>(ids.size()));
  }
  out.ids = from(ids, {out.offsets.back()});
  return out;
}

PackedBatch pack(const Tensor& padded, const std::vector<std::int64_t>& lengths) {
  if (padded.rank() != 2 || padded.dtype() != DType::int32) {
    fail(ErrorCode::shape, "pack", fmt::format("padded is {}; want int32 [B, T]", padded.describe()));
  }
  if (static_cast<std::int64_t>(lengths.size()) != padded.size(0)) {
    fail(ErrorCode::shape, "pack",
         fmt::format("lengths are {} numbers; want one for each of {} rows", lengths.size(), padded.size(0)));
  }
  std::vector<std::vector<std::int32_t>> sentences;
  const auto* id = padded.data<std::int32_t>();
  for (std::int64_t b = 0; b < padded.size(0); ++b) {
    const std::int64_t length = lengths[static_cast<std::size_t>(b)];
    if (length < 0 || length > padded.size(1)) {
      fail(ErrorCode::value, "pack",
           fmt::format("length of row {} is {}; want 0 to {}", b, length, padded.size(1)));
    }
    std::vector<std::int32_t>& sentence = sentences.emplace_back();
    for (std::int64_t i = 0; i < length; ++i)
      sentence.push_back(id[b * padded.stride(0) + i * padded.stride(1)]);
  }
  return pack(sentences);
}

}  // namespace headway::inline v1::models
