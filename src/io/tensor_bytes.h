#pragma once
#include <cstdint>
#include <memory>

#include <headway/core/tensor.h>
#include <headway/io/atomic_file.h>

namespace headway::inline v1::io {

/// The elements of a tensor in row-major order for as long as this lives: in place where they lie so, else in
/// a copy. Those on demand are made for this alone and stay on demand.
class TensorBytes {
 public:
  explicit TensorBytes(const Tensor& tensor);
  ~TensorBytes();
  TensorBytes(const TensorBytes&) = delete;
  TensorBytes& operator=(const TensorBytes&) = delete;

  DType dtype() const { return dtype_; }
  std::int64_t count() const { return count_; }
  const void* data() const { return data_; }
  /// Elements [begin, end) as float32; the tensor is floating.
  void floats(std::int64_t begin, std::int64_t end, float* out) const;

 private:
  DType dtype_;
  std::int64_t count_;
  const void* data_ = nullptr;
  Tensor keep_;
};

/// Appends all elements in `dtype`: the tensor's own, or another floating one (rounded to nearest even).
void write_elements(AtomicFile& file, const TensorBytes& bytes, DType dtype);

}  // namespace headway::inline v1::io
