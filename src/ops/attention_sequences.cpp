// Which rows of queries and keys belong to each sequence of a call.
#include <algorithm>

#include <fmt/format.h>

#include "ops/attention_args.h"

namespace headway::inline v1::ops {
namespace {

constexpr const char* kOperation = "attention";

[[noreturn]] void wrong_shape(std::string_view message) { fail(ErrorCode::shape, kOperation, message); }

void check_offsets(const char* argument, const std::vector<std::int64_t>& offsets, const HeadsView& x) {
  const std::int64_t rows = x.length;
  if (offsets.empty()) {
    wrong_shape(fmt::format(
        "{} are missing for {}, taken as packed [N, H, D]; want them rising from 0 to {} (is it "
        "[B, T, C], not yet projected? attention() takes heads: nn::MultiHeadAttention makes them)",
        argument, x.tensor.shape().str(), rows));
  }
  const bool ordered = std::is_sorted(offsets.begin(), offsets.end());
  if (offsets.front() != 0 || offsets.back() != rows || !ordered) {
    wrong_shape(fmt::format("{} run from {} to {}{} for {} packed rows; want them rising from 0 to {}",
                            argument, offsets.front(), offsets.back(), ordered ? "" : ", not in order,", rows,
                            rows));
  }
}

// Keys of each sequence anywhere among the packed rows.
void add_scattered(const HeadsView& q, const HeadsView& k, const AttentionOptions& options,
                   AttentionCall& call) {
  check_offsets("query_offsets", options.query_offsets, q);
  const std::size_t count = options.query_offsets.size() - 1;
  if (options.key_starts.size() != count || options.key_lengths.size() != count ||
      !options.key_offsets.empty()) {
    wrong_shape(fmt::format(
        "{} key_starts, {} key_lengths and {} key_offsets for {} sequences; want a start "
        "and a length for each, and no offsets",
        options.key_starts.size(), options.key_lengths.size(), options.key_offsets.size(), count));
  }
  for (std::size_t b = 0; b < count; ++b) {
    const std::int64_t start = options.key_starts[b];
    const std::int64_t length = options.key_lengths[b];
    if (start < 0 || length < 0 || start > k.length - length) {
      fail(ErrorCode::value, kOperation,
           fmt::format("keys of sequence {} are {} rows from row {} on; want them within {} rows", b, length,
                       start, k.length));
    }
    call.sequences.push_back({.query_begin = options.query_offsets[b],
                              .query_count = options.query_offsets[b + 1] - options.query_offsets[b],
                              .key_begin = start,
                              .key_count = length,
                              .index = static_cast<std::int64_t>(b)});
  }
}

void add_packed(const HeadsView& q, const HeadsView& k, const AttentionOptions& options,
                AttentionCall& call) {
  if (!options.key_starts.empty()) return add_scattered(q, k, options, call);
  check_offsets("query_offsets", options.query_offsets, q);
  check_offsets("key_offsets", options.key_offsets, k);
  if (options.query_offsets.size() != options.key_offsets.size()) {
    wrong_shape(fmt::format("query_offsets name {} sequences, key_offsets {}; want equal",
                            options.query_offsets.size() - 1, options.key_offsets.size() - 1));
  }
  if (!options.key_lengths.empty()) {
    fail(ErrorCode::value, kOperation, "key_lengths are for padded keys; packed ones have key_offsets");
  }
  for (std::size_t b = 0; b + 1 < options.query_offsets.size(); ++b) {
    const std::int64_t q0 = options.query_offsets[b];
    const std::int64_t k0 = options.key_offsets[b];
    call.sequences.push_back({.query_begin = q0,
                              .query_count = options.query_offsets[b + 1] - q0,
                              .key_begin = k0,
                              .key_count = options.key_offsets[b + 1] - k0,
                              .index = static_cast<std::int64_t>(b)});
  }
}

void add_padded(const HeadsView& q, const HeadsView& k, const AttentionOptions& options,
                AttentionCall& call) {
  if (!options.query_offsets.empty() || !options.key_offsets.empty()) {
    wrong_shape(fmt::format("offsets are given with query {}; want them with packed [N, H, D] alone",
                            q.tensor.shape().str()));
  }
  if (!options.key_starts.empty()) {
    wrong_shape(fmt::format("key_starts are given with key {}; want them with packed [N, H, D] alone",
                            k.tensor.shape().str()));
  }
  const auto& lengths = options.key_lengths;
  if (!lengths.empty() && static_cast<std::int64_t>(lengths.size()) != q.batch) {
    wrong_shape(fmt::format("{} key_lengths for a batch of {}", lengths.size(), q.batch));
  }
  call.sequences.reserve(
      static_cast<std::size_t>(q.batch));  // fails at once where there is no room for so many
  for (std::int64_t b = 0; b < q.batch; ++b) {
    const std::int64_t count = lengths.empty() ? k.length : lengths[static_cast<std::size_t>(b)];
    if (count < 0 || count > k.length) {
      fail(ErrorCode::value, kOperation,
           fmt::format("key_lengths[{}] is {}; want 0 to {}", b, count, k.length));
    }
    call.sequences.push_back({.query_begin = b * q.sequence_rows,
                              .query_count = q.length,
                              .key_begin = b * k.sequence_rows,
                              .key_count = count,
                              .index = b});
  }
}

}  // namespace

void add_sequences(const HeadsView& q, const HeadsView& k, const AttentionOptions& options,
                   AttentionCall& call) {
  if (q.packed) {
    add_packed(q, k, options, call);
  } else {
    add_padded(q, k, options, call);
  }
}

}  // namespace headway::inline v1::ops
