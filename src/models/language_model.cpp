#include <headway/models/language_model.h>

#include <algorithm>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/nn/positions.h>
#include <headway/ops/embedding.h>

#include "models/token_check.h"

namespace headway::inline v1::models {

std::int64_t DecodingState::admit() {
  if (!free_.empty()) {
    const std::int64_t handle = free_.back();
    free_.pop_back();
    return handle;
  }
  sequences_.emplace_back();
  const auto count = static_cast<std::int64_t>(sequences_.size());
  for (nn::BlockState& layer : layers_) layer.self.reserve_rows(count);
  return count - 1;
}

const DecodingState::Sequence& DecodingState::alive(std::int64_t sequence) const {
  const auto at = static_cast<std::size_t>(sequence);
  if (sequence < 0 || at >= sequences_.size() || !sequences_[at].alive)
    fail(ErrorCode::value, "DecodingState", fmt::format("sequence {} is not alive", sequence));
  return sequences_[at];
}

std::int64_t DecodingState::add(std::int64_t memory) {
  if (memory != kNoMemory && (memory < 0 || memory >= static_cast<std::int64_t>(memories_.size()) ||
                              !memories_[static_cast<std::size_t>(memory)])) {
    fail(ErrorCode::value, "DecodingState", fmt::format("memory {} is not known to this state", memory));
  }
  const std::int64_t handle = admit();
  sequences_[static_cast<std::size_t>(handle)] = {0, memory, true};
  for (nn::BlockState& layer : layers_) layer.self.clear_row(handle);
  return handle;
}

std::int64_t DecodingState::fork(std::int64_t sequence) {
  const Sequence copy = alive(sequence);
  const std::int64_t handle = admit();
  sequences_[static_cast<std::size_t>(handle)] = copy;
  for (nn::BlockState& layer : layers_) layer.self.copy_row(sequence, handle);
  return handle;
}

void DecodingState::drop(std::int64_t sequence) {
  alive(sequence);
  sequences_[static_cast<std::size_t>(sequence)] = {};
  for (nn::BlockState& layer : layers_) layer.self.clear_row(sequence);
  free_.push_back(sequence);
}

void DecodingState::forget(std::int64_t memory) {
  if (memory < 0 || memory >= static_cast<std::int64_t>(memories_.size()) ||
      !memories_[static_cast<std::size_t>(memory)]) {
    fail(ErrorCode::value, "DecodingState", fmt::format("memory {} is not known to this state", memory));
  }
  for (std::size_t i = 0; i < sequences_.size(); ++i) {
    if (sequences_[i].alive && sequences_[i].memory == memory)
      fail(ErrorCode::value, "DecodingState", fmt::format("memory {} is used by sequence {}", memory, i));
  }
  memories_[static_cast<std::size_t>(memory)] = false;
  for (nn::BlockState& layer : layers_) layer.memory.clear_row(memory);
}

std::int64_t DecodingState::length(std::int64_t sequence) const { return alive(sequence).length; }
std::int64_t DecodingState::memory(std::int64_t sequence) const { return alive(sequence).memory; }

Memory LanguageModel::encode(const PackedBatch&) {
  fail(ErrorCode::unsupported, "encode", "this model is a decoder alone and has no encoder");
}

void LanguageModel::after_step(std::vector<nn::BlockState>&, const std::vector<std::int64_t>&) {}

Tensor LanguageModel::hidden(const PackedBatch& batch, const Memory& memory,
                             const nn::LayerObserver& observer) {
  check_tokens(batch.ids, batch.offsets,
               {.operation = "LanguageModel::hidden",
                .what = "sequence",
                .vocabulary = vocabulary(),
                .max_length = max_length()});
  if (has_encoder() && memory.offsets.size() != batch.offsets.size()) {
    fail(ErrorCode::shape, "LanguageModel::hidden",
         fmt::format("memory has {} sequences, the batch has {}; want as many",
                     static_cast<std::int64_t>(memory.offsets.size()) - 1, batch.offsets.size() - 1));
  }
  return run({.ids = batch.ids,
              .positions = nn::position_ids(batch.offsets),
              .input = {.offsets = batch.offsets, .memory = memory.rows, .memory_offsets = memory.offsets},
              .states = nullptr,
              .observer = observer});
}

namespace {
void require_evaluation(bool training, std::string_view operation) {
  if (training) {
    fail(ErrorCode::value, operation, "the model is training and would drop activations; call eval() first");
  }
}
}  // namespace

DecodingState LanguageModel::start() {
  require_evaluation(training(), "LanguageModel::start");
  DecodingState state;
  state.layers_.resize(static_cast<std::size_t>(decoder().layers()));
  return state;
}

std::vector<std::int64_t> LanguageModel::remember(DecodingState& state, const Memory& memory) {
  require_evaluation(training(), "LanguageModel::remember");
  if (!has_encoder()) fail(ErrorCode::unsupported, "remember", "this model is a decoder alone");
  const NoGrad no_grad;
  std::vector<std::int64_t> handles;
  for (std::size_t b = 0; b + 1 < memory.offsets.size(); ++b) {
    const auto unused = std::find(state.memories_.begin(), state.memories_.end(), false);
    handles.push_back(unused - state.memories_.begin());
    if (unused == state.memories_.end()) {
      state.memories_.push_back(true);
    } else {
      *unused = true;
    }
  }
  for (nn::BlockState& layer : state.layers_)
    layer.memory.reserve_rows(static_cast<std::int64_t>(state.memories_.size()));
  decoder().remember(memory.rows, memory.offsets, state.layers_, handles);
  return handles;
}

Tensor LanguageModel::step(DecodingState& state, const std::vector<StepRow>& rows) {
  require_evaluation(training(), "LanguageModel::step");
  const NoGrad no_grad;
  std::vector<std::int32_t> ids, positions, wanted;
  nn::BlockInput input{.offsets = {0}};
  input.memory_queries = {0};
  std::vector<bool> named(state.sequences_.size(), false);
  for (const StepRow& row : rows) {
    const DecodingState::Sequence& sequence = state.alive(row.sequence);
    const auto count = static_cast<std::int64_t>(row.tokens.size());
    if (row.tokens.empty() || named[static_cast<std::size_t>(row.sequence)]) {
      fail(ErrorCode::value, "LanguageModel::step",
           fmt::format("sequence {} is given {}; want each once, with at least one token", row.sequence,
                       row.tokens.empty() ? "no token" : "twice"));
    }
    named[static_cast<std::size_t>(row.sequence)] = true;
    if (max_length() > 0 && sequence.length + count > max_length()) {
      fail(ErrorCode::value, "LanguageModel::step",
           fmt::format("sequence {} has {} tokens and gets {} more; want at most max_length = {}",
                       row.sequence, sequence.length, count, max_length()));
    }
    for (std::int64_t i = 0; i < count; ++i) {
      if (row.logits == LogitRows::all || (row.logits == LogitRows::last && i + 1 == count))
        wanted.push_back(static_cast<std::int32_t>(ids.size()));
      ids.push_back(row.tokens[static_cast<std::size_t>(i)]);
      positions.push_back(static_cast<std::int32_t>(sequence.length + i));
    }
    input.offsets.push_back(static_cast<std::int64_t>(ids.size()));
    input.rows.push_back(row.sequence);
    // Neighbours with one memory attend to it as one block of queries: it is read once.
    const bool same = !input.memory_rows.empty() && input.memory_rows.back() == sequence.memory;
    if (same) input.memory_queries.pop_back();
    if (!same) input.memory_rows.push_back(sequence.memory);
    input.memory_queries.push_back(input.offsets.back());
  }
  const auto count = static_cast<std::int64_t>(ids.size());
  if (count == 0) return Tensor::empty({0, vocabulary()});
  const Tensor tokens = from(ids, {count});
  check_tokens(tokens, input.offsets,
               {.operation = "LanguageModel::step", .what = "sequence", .vocabulary = vocabulary()});
  const Tensor hidden = run({.ids = tokens,
                             .positions = from(positions, {count}),
                             .input = input,
                             .states = &state.layers_,
                             .observer = {}});
  for (std::size_t i = 0; i < rows.size(); ++i) {
    state.sequences_[static_cast<std::size_t>(rows[i].sequence)].length +=
        input.offsets[i + 1] - input.offsets[i];
  }
  after_step(state.layers_, input.rows);
  const auto results = static_cast<std::int64_t>(wanted.size());
  if (results == count) return logits(hidden);
  return logits(gather(hidden, from(wanted, {results})));
}

}  // namespace headway::inline v1::models
