#pragma once
#include <string>
#include <utility>
#include <vector>

#include <headway/core/generator.h>
#include <headway/core/tensor.h>

namespace headway::inline v1::nn {

struct NamedParameter {
  std::string name;  ///< "decoder.2.self_attention.output.weight"
  Tensor tensor;
};

/// A part of a model: named parameters, named children, and whether it is training. Composition only:
/// derivatives belong to ops. Neither copied nor moved, since parents keep addresses of their children.
class HEADWAY_API Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  /// All parameters below this module, in order of registration.
  std::vector<NamedParameter> parameters() const;
  std::int64_t parameter_count() const;
  void zero_grad() const;

  /// Training mode: dropout is active and draws from `generator`, which must outlive the training.
  void train(Generator& generator) { set_generator(&generator); }
  /// Evaluation mode, the initial one.
  void eval() { set_generator(nullptr); }
  bool training() const { return generator_ != nullptr; }

 protected:
  /// Registers a trainable tensor and returns the handle to keep.
  Tensor add_parameter(std::string name, const Tensor& value);
  void add_child(std::string name, Module& child);
  void clear_parameters() { parameters_.clear(); }
  /// Null in evaluation.
  Generator* generator() const { return generator_; }

 private:
  void set_generator(Generator* generator);
  void collect(const std::string& prefix, std::vector<NamedParameter>& out) const;
  std::vector<NamedParameter> parameters_;
  std::vector<std::pair<std::string, Module*>> children_;
  Generator* generator_ = nullptr;
};

}  // namespace headway::inline v1::nn
