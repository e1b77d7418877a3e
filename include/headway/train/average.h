#pragma once
#include <cstdint>
#include <filesystem>
#include <vector>

#include <headway/io/safetensors.h>
#include <headway/nn/module.h>

namespace headway::inline v1::train {

/// The exponential moving average of the weights, a ← d·a + (1 - d)·w after each update (Polyak & Juditsky
/// 1992, as used by Vaswani 2017's successors). d grows as min(decay, (1 + t)/(10 + t)), so that the first
/// updates, when the weights move far, are soon forgotten.
class HEADWAY_API ExponentialAverage {
 public:
  ExponentialAverage(std::vector<nn::NamedParameter> parameters, double decay);

  /// Takes the present weights in.
  void update();
  /// Exchanges weights and average, bit for bit; twice is as never.
  void swap();

  /// The weights are the average while an object of this type lives.
  class HEADWAY_API InUse {
   public:
    explicit InUse(ExponentialAverage* average) : average_(average) { exchange(); }
    ~InUse() { exchange(); }
    InUse(const InUse&) = delete;
    InUse& operator=(const InUse&) = delete;

   private:
    void exchange() const {
      if (average_) average_->swap();
    }
    ExponentialAverage* average_;
  };

  /// The averages under the parameters' names, and the number of updates, for state.json.
  std::vector<io::NamedTensor> state() const;
  std::int64_t updates() const { return updates_; }
  void load_state(const std::vector<io::NamedTensor>& state, std::int64_t updates,
                  std::string_view what = "averaged weights");

 private:
  template <typename Body>
  void for_blocks(Body&& body) const;
  std::vector<nn::NamedParameter> parameters_;
  std::vector<Tensor> averages_;
  double decay_;
  std::int64_t updates_ = 0;
};

/// The mean of the weights of several safetensors files with the same names and shapes (Vaswani 2017,
/// section 6.1, averages the last 5 to 20 checkpoints). Sums are float64; the result has the files' dtypes.
HEADWAY_API std::vector<io::NamedTensor> average_files(const std::vector<std::filesystem::path>& files);

}  // namespace headway::inline v1::train
