#include <headway/nn/multi_head_attention.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <tuple>

#include <fmt/format.h>

#include <headway/core/parallel.h>
#include <headway/ops/views.h>

namespace headway::inline v1::nn {
namespace {

std::int64_t bytes_per_position(const Tensor& t) {
  return t.size(-1) * t.size(-2) * static_cast<std::int64_t>(size_of(t.dtype()));
}

char* position(const Tensor& t, std::int64_t row, std::int64_t at) {
  return static_cast<char*>(t.raw()) +
         (row * t.stride(0) + at * t.stride(1)) * static_cast<std::int64_t>(size_of(t.dtype()));
}

// A new [rows, capacity, G, D] whose row r holds the first lengths[r] positions of row from[r].
Tensor regrow(const Tensor& old, std::int64_t capacity, const std::vector<std::int32_t>& from,
              const std::vector<std::int64_t>& lengths) {
  const auto rows = static_cast<std::int64_t>(from.size());
  Tensor fresh = Tensor::empty({rows, capacity, old.size(2), old.size(3)}, old.dtype());
  const std::int64_t width = bytes_per_position(old);
  core::parallel_for(rows, [&](std::int64_t r) {
    const auto i = static_cast<std::size_t>(r);
    if (lengths[i] > 0)
      std::memcpy(position(fresh, r, 0), position(old, from[i], 0),
                  static_cast<std::size_t>(lengths[i] * width));
  });
  return fresh;
}

// The first from.size() rows of `t` get the content of later rows: where rows only leave, nothing is
// allocated and those before the first that left stay where they are.
Tensor close_gaps(const Tensor& t, const std::vector<std::int32_t>& from,
                  const std::vector<std::int64_t>& lengths) {
  const std::int64_t width = bytes_per_position(t);
  for (std::size_t i = 0; i < from.size(); ++i) {
    const auto r = static_cast<std::int64_t>(i);
    if (from[i] != r && lengths[i] > 0)
      std::memcpy(position(t, r, 0), position(t, from[i], 0), static_cast<std::size_t>(lengths[i] * width));
  }
  return slice(t, 0, 0, static_cast<std::int64_t>(from.size()));
}

void check_kind(const char* what, const Tensor& x, const Tensor& held) {
  if (!held.defined()) return;
  if (x.dtype() != held.dtype()) {
    fail(ErrorCode::dtype, "KeyValueCache",
         fmt::format("{} is {}; the cache holds {}", what, x.describe(), name_of(held.dtype())));
  }
  if (x.size(-2) != held.size(2) || x.size(-1) != held.size(3)) {
    fail(ErrorCode::shape, "KeyValueCache",
         fmt::format("{} is {}; the cache holds {} heads of {}", what, x.shape().str(), held.size(2),
                     held.size(3)));
  }
}

void check_fits(const char* what, const Tensor& x, const Tensor& held) {
  if (x.rank() != 4) {
    fail(ErrorCode::shape, "KeyValueCache",
         fmt::format("{} is {}; want [R, T, G, D]", what, x.shape().str()));
  }
  check_kind(what, x, held);
}

// A position is copied whole: its heads must stand side by side, as a combined projection leaves them, and
// separate ones do not.
Tensor side_by_side(const Tensor& t) {
  return t.stride(-1) == 1 && t.stride(-2) == t.size(-1) ? t : contiguous(t);
}

std::int64_t longest_of(const std::vector<std::int64_t>& lengths) {
  return lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end());
}

void check_row(std::int64_t row, std::int64_t rows) {
  if (row >= 0 && row < rows) return;
  fail(ErrorCode::value, "KeyValueCache", fmt::format("row {} of {}; want 0 to {}", row, rows, rows - 1));
}

}  // namespace

// Makes room for `positions` in every row there is.
void KeyValueCache::grow(std::int64_t positions, const Tensor& key, const Tensor& value) {
  const auto grown = [&](const Tensor& old, const Tensor& like) {
    const bool roomy = old.defined() && old.size(1) >= positions;
    if (roomy && old.size(0) >= rows()) return old;
    // Doubling keeps the copies of a sequence of n steps at O(n).
    const std::int64_t wide = roomy ? old.size(1) : std::max<std::int64_t>(16, 2 * positions);
    Tensor fresh = Tensor::empty({rows(), wide, like.size(-2), like.size(-1)}, like.dtype());
    if (!old.defined()) return fresh;
    const std::int64_t width = bytes_per_position(old);
    core::parallel_for(std::min(rows(), old.size(0)), [&](std::int64_t r) {
      const std::int64_t length = lengths_[static_cast<std::size_t>(r)];
      if (length > 0)
        std::memcpy(position(fresh, r, 0), position(old, r, 0), static_cast<std::size_t>(length * width));
    });
    return fresh;
  };
  key_ = grown(key_, key);
  value_ = grown(value_, value);
}

void KeyValueCache::reserve_rows(std::int64_t count) {
  if (count > rows()) lengths_.resize(static_cast<std::size_t>(count), 0);
}

void KeyValueCache::copy_row(std::int64_t from, std::int64_t to) {
  check_row(from, rows());
  check_row(to, rows());
  const std::int64_t length = lengths_[static_cast<std::size_t>(from)];
  lengths_[static_cast<std::size_t>(to)] = 0;
  if (length > 0 && from != to) {
    grow(length, key_, value_);
    for (const Tensor& t : {key_, value_}) {
      std::memcpy(position(t, to, 0), position(t, from, 0),
                  static_cast<std::size_t>(length * bytes_per_position(t)));
    }
  }
  lengths_[static_cast<std::size_t>(to)] = length;
}

void KeyValueCache::clear_row(std::int64_t row) {
  check_row(row, rows());
  lengths_[static_cast<std::size_t>(row)] = 0;
}

void KeyValueCache::keep_last(std::int64_t row, std::int64_t count) {
  check_row(row, rows());
  std::int64_t& length = lengths_[static_cast<std::size_t>(row)];
  if (length <= count) return;
  for (const Tensor& t : {key_, value_}) {
    std::memmove(position(t, row, 0), position(t, row, length - count),
                 static_cast<std::size_t>(count * bytes_per_position(t)));
  }
  length = count;
}

void KeyValueCache::check_rows(const std::vector<std::int64_t>& of,
                               const std::vector<std::int64_t>& offsets) const {
  if (of.size() + 1 != offsets.size()) {
    fail(ErrorCode::shape, "KeyValueCache",
         fmt::format("{} rows for {} sequences; want one for each", of.size(), offsets.size() - 1));
  }
  for (const std::int64_t row : of) check_row(row, rows());
}

void KeyValueCache::append(const std::vector<std::int64_t>& of, const std::vector<std::int64_t>& offsets,
                           const Tensor& new_key, const Tensor& new_value) {
  check_rows(of, offsets);
  for (const auto& [name, x, held] :
       {std::tuple("key", new_key, key_), std::tuple("value", new_value, value_)}) {
    if (x.rank() != 3 || x.size(0) != offsets.back()) {
      fail(ErrorCode::shape, "KeyValueCache",
           fmt::format("{} is {}; want packed [{}, G, D]", name, x.shape().str(), offsets.back()));
    }
    check_kind(name, x, held);
  }
  const Tensor key = side_by_side(new_key), value = side_by_side(new_value);
  std::int64_t longest = 0;
  for (std::size_t b = 0; b < of.size(); ++b) {
    longest = std::max(longest, lengths_[static_cast<std::size_t>(of[b])] + offsets[b + 1] - offsets[b]);
  }
  grow(longest, key, value);
  const auto row_of = [](const Tensor& t, std::int64_t at) {
    return static_cast<const char*>(t.raw()) +
           at * t.stride(0) * static_cast<std::int64_t>(size_of(t.dtype()));
  };
  for (std::size_t b = 0; b < of.size(); ++b) {
    std::int64_t& length = lengths_[static_cast<std::size_t>(of[b])];
    for (std::int64_t at = offsets[b]; at < offsets[b + 1]; ++at, ++length) {
      std::memcpy(position(key_, of[b], length), row_of(key, at),
                  static_cast<std::size_t>(bytes_per_position(key)));
      std::memcpy(position(value_, of[b], length), row_of(value, at),
                  static_cast<std::size_t>(bytes_per_position(value)));
    }
  }
}

void KeyValueCache::admit(std::int64_t count) {
  if (lengths_.empty()) lengths_.assign(static_cast<std::size_t>(count), 0);
  if (count != rows()) {
    fail(ErrorCode::shape, "KeyValueCache",
         fmt::format("new positions for {} rows; the cache has {}", count, rows()));
  }
}

void KeyValueCache::append(const Tensor& new_key, const Tensor& new_value) {
  check_fits("key", new_key, key_);
  check_fits("value", new_value, value_);
  if (new_key.size(0) != new_value.size(0) || new_key.size(1) != new_value.size(1)) {
    fail(ErrorCode::shape, "KeyValueCache",
         fmt::format("key is {}, value is {}; want equal rows and positions", new_key.shape().str(),
                     new_value.shape().str()));
  }
  admit(new_key.size(0));
  const Tensor key = side_by_side(new_key), value = side_by_side(new_value);
  const std::int64_t rows = key.size(0);
  const std::int64_t count = key.size(1);
  grow(longest_of(lengths_) + count, key, value);
  for (std::int64_t r = 0; r < rows; ++r) {
    std::int64_t& length = lengths_[static_cast<std::size_t>(r)];
    for (std::int64_t t = 0; t < count; ++t) {
      std::memcpy(position(key_, r, length + t), position(key, r, t),
                  static_cast<std::size_t>(bytes_per_position(key)));
      std::memcpy(position(value_, r, length + t), position(value, r, t),
                  static_cast<std::size_t>(bytes_per_position(value)));
    }
    length += count;
  }
}

void KeyValueCache::reorder(const std::vector<std::int32_t>& from) {
  std::vector<std::int64_t> lengths;
  bool same = from.size() == lengths_.size();
  const bool rows_only_leave =
      std::adjacent_find(from.begin(), from.end(), std::greater_equal<>()) == from.end();
  for (std::size_t r = 0; r < from.size(); ++r) {
    if (from[r] < 0 || from[r] >= rows()) {
      fail(ErrorCode::value, "KeyValueCache",
           fmt::format("row {} comes from row {}; want 0 to {}", r, from[r], rows() - 1));
    }
    lengths.push_back(lengths_[static_cast<std::size_t>(from[r])]);
    same = same && from[r] == static_cast<std::int32_t>(r);
  }
  if (same) return;
  if (key_.defined()) {
    const std::int64_t capacity = key_.size(1);
    key_ = rows_only_leave ? close_gaps(key_, from, lengths) : regrow(key_, capacity, from, lengths);
    value_ = rows_only_leave ? close_gaps(value_, from, lengths) : regrow(value_, capacity, from, lengths);
  }
  lengths_ = std::move(lengths);
}

}  // namespace headway::inline v1::nn
