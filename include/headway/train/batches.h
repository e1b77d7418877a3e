#pragma once
#include <cstdint>
#include <vector>

#include <headway/core/tensor.h>
#include <headway/train/batch_position.h>

namespace headway::inline v1::train {

/// A sentence and its translation, as ids without begin or end marks, unless the model wants such in the
/// source.
struct Example {
  std::vector<std::int32_t> source, target;
};

struct BatchOptions {
  /// Budget of a batch: source tokens plus target tokens, each target counting its end mark. The sum, since
  /// packed batches have no padding and their cost is nearly linear in it.
  std::int64_t tokens = 4096;
  std::int64_t max_sequences = 0;  ///< 0: as many as the budget holds
  std::int32_t bos = 1, eos = 2;   ///< marks put before target_in and after target_out
  /// Examples that are sorted by length together. Packing does not need sorting, but kernels run best on
  /// sequences of like length. 1: no sorting.
  std::int64_t pool = 4096;
  std::uint64_t seed = 0;
};

/// Packed: sequence b is elements offsets[b] … offsets[b + 1] - 1. Ids are int32 [N].
struct Batch {
  Tensor source;
  Tensor target_in;   ///< bos and the target: what the decoder reads
  Tensor target_out;  ///< the target and eos: what it is to say
  std::vector<std::int64_t> source_offsets, target_offsets;
  std::vector<std::int64_t> examples;                            ///< which examples these are
  std::int64_t tokens() const { return target_offsets.back(); }  ///< targets that count in the loss
  std::int64_t all_tokens() const { return source_offsets.back() + target_offsets.back(); }
};

/// An endless stream over the examples, each once per epoch. An epoch is a permutation (by Philox, from seed
/// and epoch alone), cut into pools; within a pool examples are sorted by length and cut into batches, and
/// what does not fill a batch waits for the next pool; then the batches are shuffled. So any place of the
/// stream is found again from two numbers.
class HEADWAY_API BatchStream {
 public:
  /// Error(value) naming the example that does not fit the budget.
  BatchStream(std::vector<Example> examples, const BatchOptions& options);

  Batch next();
  BatchPosition position() const { return position_; }
  void seek(const BatchPosition& position);
  /// Batches in the present epoch.
  std::int64_t batches() const { return static_cast<std::int64_t>(plan_.size()); }
  const std::vector<Example>& examples() const { return examples_; }
  const BatchOptions& options() const { return options_; }

 private:
  void plan_epoch();
  std::vector<Example> examples_;
  BatchOptions options_;
  BatchPosition position_;
  std::vector<std::vector<std::int64_t>> plan_;
};

/// The examples with these indices as one batch.
HEADWAY_API Batch make_batch(const std::vector<Example>& examples, const std::vector<std::int64_t>& indices,
                             const BatchOptions& options);
/// Every example once, sorted by length, for evaluation.
HEADWAY_API std::vector<Batch> all_batches(const std::vector<Example>& examples, const BatchOptions& options);

}  // namespace headway::inline v1::train
