#include "cli/compare_job.h"

#include <array>
#include <vector>

#include <fmt/format.h>

#include <headway/core/factory.h>
#include <headway/io/atomic_file.h>

namespace headway::cli {
namespace {

constexpr std::int64_t kBatch = 32;

class Recall : public Job {
 public:
  std::string task() const override {
    return "recall: eight key-value pairs, then eight questions \"the value of a, and the value of b\"";
  }
  // A pair is one token (key, value); a question is one token (a, b).
  std::int64_t vocabulary() const override { return 2 * kKeys * kKeys; }
  std::int64_t length() const override { return 2 * kKeys; }
  std::int64_t steps() const override { return 300; }
  Mask mask() const override { return {}; }
  bool asks_questions() const override { return true; }

  train::LabelledBatch draw(Generator& generator, bool) const override {
    std::vector<std::int32_t> ids, targets;
    for (std::int64_t b = 0; b < kBatch; ++b) {
      std::array<std::int32_t, kKeys> keys{}, values{};
      for (std::int32_t k = 0; k < kKeys; ++k) {
        const auto place = static_cast<std::int32_t>(generator.below(static_cast<std::uint64_t>(k) + 1));
        keys[static_cast<std::size_t>(k)] = keys[static_cast<std::size_t>(place)];
        keys[static_cast<std::size_t>(place)] = k;
        values[static_cast<std::size_t>(k)] = static_cast<std::int32_t>(generator.below(kKeys));
      }
      for (const std::int32_t key : keys) {
        ids.push_back(key * kKeys + values[static_cast<std::size_t>(key)]);
        targets.push_back(-1);
      }
      for (std::int32_t q = 0; q < kKeys; ++q) {
        const auto first = static_cast<std::int32_t>(generator.below(kKeys));
        const auto second = static_cast<std::int32_t>(
            (static_cast<std::uint64_t>(first) + 1 + generator.below(kKeys - 1)) % kKeys);
        ids.push_back(kKeys * kKeys + first * kKeys + second);
        targets.push_back(values[static_cast<std::size_t>(first)] * kKeys +
                          values[static_cast<std::size_t>(second)]);
      }
    }
    return {from(ids, {kBatch, length()}), from(targets, {kBatch * length()})};
  }

 private:
  static constexpr std::int32_t kKeys = 8;
};

class Text : public Job {
 public:
  explicit Text(const std::string& file)
      : name_(file), bytes_(io::read_file(file)), held_out_(bytes_.size() - bytes_.size() / 10) {
    const auto least = static_cast<std::size_t>(20 * (Text::length() + 1));
    if (bytes_.size() < least) {
      fail(ErrorCode::value, "compare --train",
           fmt::format("{} has {} bytes; want at least {}", file, bytes_.size(), least));
    }
  }
  std::string task() const override {
    return fmt::format("next byte of {} ({} bytes, the last tenth held out)", name_, bytes_.size());
  }
  std::int64_t vocabulary() const override { return 256; }
  std::int64_t length() const override { return 64; }
  std::int64_t steps() const override { return 600; }
  Mask mask() const override { return Mask::causal(); }
  bool asks_questions() const override { return false; }

  train::LabelledBatch draw(Generator& generator, bool held_out) const override {
    const std::size_t begin = held_out ? held_out_ : 0;
    const std::size_t end = held_out ? bytes_.size() : held_out_;
    const auto span = static_cast<std::size_t>(length());
    std::vector<std::int32_t> ids, targets;
    for (std::int64_t b = 0; b < kBatch; ++b) {
      const std::size_t start = begin + generator.below(end - begin - span);
      for (std::size_t i = 0; i < span; ++i) {
        ids.push_back(static_cast<unsigned char>(bytes_[start + i]));
        targets.push_back(static_cast<unsigned char>(bytes_[start + i + 1]));
      }
    }
    return {from(ids, {kBatch, length()}), from(targets, {kBatch * length()})};
  }

 private:
  std::string name_, bytes_;
  std::size_t held_out_;
};

}  // namespace

std::unique_ptr<Job> make_recall_job() { return std::make_unique<Recall>(); }
std::unique_ptr<Job> make_text_job(const std::string& file) { return std::make_unique<Text>(file); }

}  // namespace headway::cli
