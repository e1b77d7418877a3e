#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include <headway/models/batch.h>
#include <headway/nn/block_stack.h>

namespace headway::inline v1::models {

/// What a decoder attends to beside its own sequence: an encoder's output, packed.
struct Memory {
  Tensor rows;                        ///< [M, C]
  std::vector<std::int64_t> offsets;  ///< [B+1]
};

/// Sequences that a model is writing, each under a handle. Everything else about them is the model's
/// business.
class HEADWAY_API DecodingState {
 public:
  static constexpr std::int64_t kNoMemory = -1;
  /// A new sequence without tokens; with an encoder, the memory that it attends to (LanguageModel::remember).
  std::int64_t add(std::int64_t memory = kNoMemory);
  /// A second sequence with the same tokens.
  std::int64_t fork(std::int64_t sequence);
  /// Ends a sequence; its handle may be given to another one.
  void drop(std::int64_t sequence);
  /// Ends a memory that no sequence attends to any more.
  void forget(std::int64_t memory);
  /// Tokens that the model has been given of it.
  std::int64_t length(std::int64_t sequence) const;
  std::int64_t memory(std::int64_t sequence) const;

 private:
  friend class LanguageModel;
  struct Sequence {
    std::int64_t length = 0, memory = kNoMemory;
    bool alive = false;
  };
  std::int64_t admit();
  const Sequence& alive(std::int64_t sequence) const;
  std::vector<nn::BlockState> layers_;
  std::vector<Sequence> sequences_;
  std::vector<std::int64_t> free_;
  std::vector<bool> memories_;  // in use
};

/// Of which of a step's tokens logits are wanted.
enum class LogitRows { none, last, all };

/// New tokens of one sequence.
struct StepRow {
  std::int64_t sequence = 0;
  std::span<const std::int32_t> tokens;
  LogitRows logits = LogitRows::last;
};

/// Everything that predicts the next token of a sequence: decoders, and decoders with an encoder. Batches are
/// packed: [N, C] rows with offsets, so that padding costs nothing.
class HEADWAY_API LanguageModel : public nn::Module {
 public:
  virtual std::int64_t vocabulary() const = 0;
  /// Tokens of the longest sequence; 0: any number.
  virtual std::int64_t max_length() const = 0;
  virtual bool has_encoder() const { return false; }
  /// Encodes sources for the decoder. Error(unsupported) of a model without an encoder.
  virtual Memory encode(const PackedBatch& source);

  /// Hidden states [N, C] of whole sequences, before the output layer; row i has seen its sequence up to i.
  /// Differentiable. With an encoder, sequence b attends to memory b.
  Tensor hidden(const PackedBatch& batch, const Memory& memory = {}, const nn::LayerObserver& observer = {});
  /// hidden [M, C] -> [M, vocabulary] float32.
  virtual Tensor logits(const Tensor& hidden) const = 0;

  /// A state without sequences, for step(). Evaluation only.
  DecodingState start();
  /// Makes memories known to a state, one handle for each.
  std::vector<std::int64_t> remember(DecodingState& state, const Memory& memory);
  /// Gives each row's sequence its new tokens, any number of them, at its own position -> logits [W,
  /// vocabulary] float32 of the tokens that want them, in the order of rows. Evaluation only. Error(value)
  /// for a token outside the vocabulary, a sequence that is not alive, named twice, or longer than
  /// max_length() with them.
  Tensor step(DecodingState& state, const std::vector<StepRow>& rows);

 protected:
  /// One pass of the decoder.
  struct Call {
    const Tensor& ids;        // [N] int32
    const Tensor& positions;  // [N] int32, of each row in its sequence
    const nn::BlockInput& input;
    std::vector<nn::BlockState>* states;  // null: whole sequences
    const nn::LayerObserver& observer;
  };
  virtual Tensor run(const Call& call) = 0;
  virtual nn::BlockStack& decoder() = 0;
  /// Of a state that has had a step: what the family keeps of a sequence beyond its keys and values.
  virtual void after_step(std::vector<nn::BlockState>& states, const std::vector<std::int64_t>& sequences);
};

}  // namespace headway::inline v1::models
