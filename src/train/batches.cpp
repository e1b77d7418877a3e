#include <headway/train/batches.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include <headway/core/factory.h>
#include <headway/core/generator.h>

namespace headway::inline v1::train {
namespace {

using Indices = std::vector<std::int64_t>;

std::int64_t load_of(const Example& e) {
  return static_cast<std::int64_t>(e.source.size() + e.target.size() + 1);
}

const Example& at(const std::vector<Example>& examples, std::int64_t index) {
  return examples[static_cast<std::size_t>(index)];
}

void check(const std::vector<Example>& examples, const BatchOptions& options) {
  const auto refuse = [](const std::string& message) { fail(ErrorCode::value, "batches", message); };
  if (options.tokens < 1) refuse(fmt::format("tokens is {}; want 1 or more", options.tokens));
  if (options.pool < 1) refuse(fmt::format("pool is {}; want 1 or more", options.pool));
  if (options.max_sequences < 0)
    refuse(fmt::format("max_sequences is {}; want 0 or more", options.max_sequences));
  if (examples.empty()) refuse("examples are 0; want at least 1");
  for (std::size_t i = 0; i < examples.size(); ++i) {
    if (load_of(examples[i]) > options.tokens) {
      refuse(fmt::format(
          "example {} has {} tokens, source and target together; want at most {}, the budget of a batch", i,
          load_of(examples[i]), options.tokens));
    }
  }
}

// Fisher and Yates' shuffle. The bound of the multiplication method (Lemire 2019) is used without rejection:
// its bias is below 2^-32 of the range.
template <typename Item>
void shuffle(std::vector<Item>& items, const RandomCall& random, std::uint32_t lane) {
  for (std::size_t i = items.size(); i > 1; --i) {
    const std::uint64_t word = random.words(i, lane)[0];
    std::swap(items[i - 1], items[static_cast<std::size_t>(word * i >> 32)]);
  }
}

void sort_by_length(Indices& indices, const std::vector<Example>& examples) {
  std::stable_sort(indices.begin(), indices.end(), [&](std::int64_t a, std::int64_t b) {
    const Example &x = at(examples, a), &y = at(examples, b);
    return std::pair(x.target.size(), x.source.size()) < std::pair(y.target.size(), y.source.size());
  });
}

// Cuts full batches off the front of `indices`; the rest stays there.
void cut(Indices& indices, const std::vector<Example>& examples, const BatchOptions& options,
         std::vector<Indices>& batches) {
  std::size_t begin = 0;
  std::int64_t load = 0;
  for (std::size_t i = 0; i < indices.size(); ++i) {
    const std::int64_t extra = load_of(at(examples, indices[i]));
    const bool many =
        options.max_sequences > 0 && static_cast<std::int64_t>(i - begin) == options.max_sequences;
    if (load + extra > options.tokens || many) {
      batches.emplace_back(indices.begin() + static_cast<std::ptrdiff_t>(begin),
                           indices.begin() + static_cast<std::ptrdiff_t>(i));
      begin = i;
      load = 0;
    }
    load += extra;
  }
  indices.erase(indices.begin(), indices.begin() + static_cast<std::ptrdiff_t>(begin));
}

}  // namespace

BatchStream::BatchStream(std::vector<Example> examples, const BatchOptions& options)
    : examples_(std::move(examples)), options_(options) {
  check(examples_, options_);
  plan_epoch();
}

void BatchStream::plan_epoch() {
  // One call id per epoch; lanes tell the two shuffles apart. The mark keeps this stream away from a
  // generator of the same seed that counts its calls from 0.
  constexpr std::uint64_t kMark = std::uint64_t{0xBA7C} << 48;
  const RandomCall random{options_.seed, kMark + static_cast<std::uint64_t>(position_.epoch)};
  Indices order(examples_.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  shuffle(order, random, 0);
  plan_.clear();
  Indices waiting;
  for (std::size_t begin = 0; begin < order.size();) {
    const std::size_t end = std::min(order.size(), begin + static_cast<std::size_t>(options_.pool));
    waiting.insert(waiting.end(), order.begin() + static_cast<std::ptrdiff_t>(begin),
                   order.begin() + static_cast<std::ptrdiff_t>(end));
    if (options_.pool > 1) sort_by_length(waiting, examples_);
    cut(waiting, examples_, options_, plan_);
    begin = end;
  }
  if (!waiting.empty()) plan_.push_back(std::move(waiting));
  shuffle(plan_, random, 1);
}

Batch BatchStream::next() {
  if (position_.batch == batches()) seek({position_.epoch + 1, 0});
  return make_batch(examples_, plan_[static_cast<std::size_t>(position_.batch++)], options_);
}

void BatchStream::seek(const BatchPosition& position) {
  if (position.epoch < 0 || position.batch < 0) {
    fail(ErrorCode::value, "batches",
         fmt::format("position is epoch {}, batch {}", position.epoch, position.batch));
  }
  if (position.epoch != position_.epoch) {
    position_ = {position.epoch, 0};
    plan_epoch();
  }
  if (position.batch > batches()) {
    fail(ErrorCode::value, "batches",
         fmt::format("position is batch {} of epoch {}, which has {}", position.batch, position.epoch,
                     batches()));
  }
  position_ = position;
}

Batch make_batch(const std::vector<Example>& examples, const Indices& indices, const BatchOptions& options) {
  Batch batch;
  batch.examples = indices;
  batch.source_offsets = batch.target_offsets = {0};
  for (const std::int64_t index : indices) {
    const Example& e = examples.at(static_cast<std::size_t>(index));
    batch.source_offsets.push_back(batch.source_offsets.back() + static_cast<std::int64_t>(e.source.size()));
    batch.target_offsets.push_back(batch.target_offsets.back() + static_cast<std::int64_t>(e.target.size()) +
                                   1);
  }
  batch.source = Tensor::empty({batch.source_offsets.back()}, DType::int32);
  batch.target_in = Tensor::empty({batch.target_offsets.back()}, DType::int32);
  batch.target_out = Tensor::empty({batch.target_offsets.back()}, DType::int32);
  auto* source = batch.source.data<std::int32_t>();
  auto* in = batch.target_in.data<std::int32_t>();
  auto* out = batch.target_out.data<std::int32_t>();
  for (const std::int64_t index : indices) {
    const Example& e = at(examples, index);
    source = std::copy(e.source.begin(), e.source.end(), source);
    *in++ = options.bos;
    in = std::copy(e.target.begin(), e.target.end(), in);
    out = std::copy(e.target.begin(), e.target.end(), out);
    *out++ = options.eos;
  }
  return batch;
}

std::vector<Batch> all_batches(const std::vector<Example>& examples, const BatchOptions& options) {
  check(examples, options);
  Indices order(examples.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  sort_by_length(order, examples);
  std::vector<Indices> plan;
  cut(order, examples, options, plan);
  if (!order.empty()) plan.push_back(std::move(order));
  std::vector<Batch> batches;
  for (const Indices& indices : plan) batches.push_back(make_batch(examples, indices, options));
  return batches;
}

}  // namespace headway::inline v1::train
