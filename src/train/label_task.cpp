#include <headway/train/label_task.h>

#include <algorithm>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/ops/loss.h>

namespace headway::inline v1::train {

std::int64_t LabelledBatch::asked() const {
  const std::vector<std::int32_t> all = labels.to_vector<std::int32_t>();
  return std::count_if(all.begin(), all.end(), [](std::int32_t label) { return label >= 0; });
}

LabelMetrics label_metrics(const Logits& logits, const std::vector<LabelledBatch>& batches) {
  const NoGrad no_grad;
  LabelMetrics out;
  double right = 0;
  for (const LabelledBatch& batch : batches) {
    const std::vector<std::int32_t> labels = batch.labels.to_vector<std::int32_t>();
    std::vector<std::int32_t> some = labels;  // every row is scored, asked or not
    for (std::int32_t& label : some) label = std::max(label, 0);
    const TokenScores scores = token_scores(logits(batch.ids), from(some, batch.labels.shape()));
    const std::vector<float> log_probability = scores.log_probability.to_vector<float>();
    const std::vector<bool> correct = scores.correct.to_vector<bool>();
    for (std::size_t i = 0; i < labels.size(); ++i) {
      if (labels[i] < 0) continue;
      ++out.labels;
      right += correct[i] ? 1 : 0;
      out.loss -= static_cast<double>(log_probability[i]);
    }
  }
  if (out.labels == 0) return out;
  out.loss /= static_cast<double>(out.labels);
  out.accuracy = right / static_cast<double>(out.labels);
  return out;
}

LabelTask::LabelTask(Parts parts) : parts_(std::move(parts)), data_(parts_.data_seed) {
  if (!parts_.model || !parts_.logits || !parts_.draw)
    fail(ErrorCode::value, "train", "a part is missing; want model, logits and draw");
  set_training();
}

void LabelTask::set_training() const {
  if (parts_.generator) parts_.model->train(*parts_.generator);
}

DrawnBatch LabelTask::next() {
  const LabelledBatch batch = parts_.draw(data_);
  return {
      .weight = static_cast<double>(batch.asked()), .tokens = batch.labels.numel(), .loss = [this, batch] {
        return cross_entropy(parts_.logits(batch.ids), batch.labels,
                             {.label_smoothing = parts_.label_smoothing});
      }};
}

void LabelTask::seek(const BatchPosition& position) {
  if (position.epoch != 0 || position.batch < 0) {
    fail(ErrorCode::value, "train",
         fmt::format("position is epoch {}, batch {}; want epoch 0 and a batch of 0 or more", position.epoch,
                     position.batch));
  }
  data_ = Generator(parts_.data_seed, static_cast<std::uint64_t>(position.batch));
}

std::optional<Evaluation> LabelTask::evaluate(std::int64_t) {
  if (parts_.valid.empty()) return std::nullopt;
  parts_.model->eval();
  const LabelMetrics metrics = label_metrics(parts_.logits, parts_.valid);
  set_training();
  return Evaluation{.score = metrics.accuracy,
                    .metrics = {{"validation_loss", metrics.loss}, {"accuracy", metrics.accuracy}}};
}

}  // namespace headway::inline v1::train
