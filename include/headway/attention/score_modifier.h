#pragma once
#include <concepts>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include <headway/core/export.h>
#include <headway/core/tensor.h>

namespace headway::inline v1 {

/// Scores of some queries and keys of one head: what a modifier sees at a time. T is float in the fused
/// kernels, double in the oracle.
template <typename T>
struct ScoreTile {
  T* scores = nullptr;
  std::int64_t stride = 0;  ///< elements from one key to the next
  std::int64_t queries = 0, keys = 0;
  std::int64_t sequence = 0, head = 0;
  /// Query i is number first_query + i·step of its sequence, and stands at that + offset among the keys; key
  /// j is number first_key + j·step.
  std::int64_t first_query = 0, first_key = 0, step = 1, offset = 0;

  T& at(std::int64_t query, std::int64_t key) const { return scores[key * stride + query]; }
  /// The query's position less the key's.
  std::int64_t distance(std::int64_t query, std::int64_t key) const {
    return first_query + offset - first_key + (query - key) * step;
  }
};

/// A change to the scores that a program makes up, with its derivative: attention calls it a tile at a time,
/// after the softcap and before biases and mask, from several threads at once. F has
///
///   template <typename T> void apply(const ScoreTile<T>& scores, const T* parameters) const;
///   template <typename T> void derive(const ScoreTile<T>& scores, const ScoreTile<T>& gradient,
///                                     const T* parameters, T* d_parameters) const;
///
/// apply() changes the scores in place, each from itself alone (and where it stands). derive() finds the
/// scores as they were before, and in `gradient` d(loss)/d(changed score), which it replaces by
/// d(loss)/d(score before); it adds to d_parameters. Pairs that a mask hides have a gradient of 0.
class HEADWAY_API ScoreModifier {
 public:
  ScoreModifier() = default;
  /// `parameters`, of any shape, are learned: float32 (float64 with float64 queries), contiguous.
  template <typename F>
    requires(!std::same_as<F, ScoreModifier>)
  explicit ScoreModifier(F f, Tensor parameters = {}, std::string name = "modifier")
      : single_(calls_of<float>(f)),
        twice_(calls_of<double>(f)),
        parameters_(std::move(parameters)),
        name_(std::move(name)) {}

  bool defined() const { return static_cast<bool>(single_.apply); }
  const Tensor& parameters() const { return parameters_; }
  const std::string& str() const { return name_; }

  template <typename T>
  void apply(const ScoreTile<T>& scores) const {
    calls<T>().apply(scores, values<T>());
  }
  template <typename T>
  void derive(const ScoreTile<T>& scores, const ScoreTile<T>& gradient, T* d_parameters) const {
    calls<T>().derive(scores, gradient, values<T>(), d_parameters);
  }

 private:
  template <typename T>
  struct Calls {
    std::function<void(const ScoreTile<T>&, const T*)> apply;
    std::function<void(const ScoreTile<T>&, const ScoreTile<T>&, const T*, T*)> derive;
  };
  template <typename T, typename F>
  static Calls<T> calls_of(const F& f) {
    return {[f](const ScoreTile<T>& scores, const T* parameters) { f.apply(scores, parameters); },
            [f](const ScoreTile<T>& scores, const ScoreTile<T>& gradient, const T* parameters,
                T* d_parameters) { f.derive(scores, gradient, parameters, d_parameters); }};
  }
  template <typename T>
  const Calls<T>& calls() const {
    if constexpr (std::same_as<T, float>) {
      return single_;
    } else {
      return twice_;
    }
  }
  template <typename T>
  const T* values() const {
    return parameters_.defined() ? parameters_.data<T>() : nullptr;
  }
  Calls<float> single_;
  Calls<double> twice_;
  Tensor parameters_;
  std::string name_;
};

}  // namespace headway::inline v1
