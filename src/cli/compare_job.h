#pragma once
#include <memory>
#include <string>

#include <headway/attention/mask.h>
#include <headway/core/generator.h>
#include <headway/train/label_task.h>

namespace headway::cli {

/// Where examples come from.
struct Job {
  virtual ~Job() = default;
  virtual std::string task() const = 0;
  virtual std::int64_t vocabulary() const = 0;
  virtual std::int64_t length() const = 0;
  virtual std::int64_t steps() const = 0;
  virtual Mask mask() const = 0;
  /// True: quality is the share of right answers; false: bits per token.
  virtual bool asks_questions() const = 0;
  /// ids [B, T], labels [B·T].
  virtual train::LabelledBatch draw(Generator& generator, bool held_out) const = 0;
};

/// Remember eight key-value pairs, answer eight questions "the value of key a, and that of key b" (one answer
/// of 64): two places matter at once, and which is which. A guess is right once in 64.
std::unique_ptr<Job> make_recall_job();
/// Predict each next byte of a text; the last tenth is held out.
std::unique_ptr<Job> make_text_job(const std::string& file);

}  // namespace headway::cli
