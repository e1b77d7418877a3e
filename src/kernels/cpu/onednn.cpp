// The one file that names oneDNN (2.6 and 3.x).
#include "kernels/cpu/onednn.h"

#include <omp.h>
#include <pthread.h>
#include <signal.h>

#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <fmt/format.h>
#include <dnnl.hpp>

#include <headway/core/error.h>
#include <headway/core/fork.h>

#include "kernels/cpu/bfloat16_matrix.h"
#include "kernels/cpu/scratch.h"

namespace headway::inline v1::kernels {
namespace onednn {
namespace {

using dnnl::memory;

constinit core::MadeOnce<dnnl::engine> the_engine;
dnnl::engine& engine() {
  return the_engine.get([] { return dnnl::engine(dnnl::engine::kind::cpu, 0); });
}
dnnl::stream& stream() {
  thread_local dnnl::stream instance(engine());
  return instance;
}

memory::data_type type_of(DType dtype) {
  if (dtype == DType::float32) return memory::data_type::f32;
  if (dtype == DType::bfloat16) return memory::data_type::bf16;
  fail(ErrorCode::dtype, "gemm", fmt::format("dtype is {}; want float32 or bfloat16", name_of(dtype)));
}

struct ProductHash {
  std::size_t operator()(const Product& key) const {
    std::size_t seed = 0;
    const auto mix = [&](auto value) {
      seed ^= static_cast<std::size_t>(value) + 0x9e3779b97f4a7c15u + (seed << 6) + (seed >> 2);
    };
    std::apply([&](auto... part) { (mix(part), ...); }, key.tied());
    return seed;
  }
};

struct Planned {
  dnnl::matmul primitive;
  memory::desc a, b, c, bias;
  std::size_t scratch;
  bool moves_stack;
};

// oneDNN 2.6's AVX2 kernel ("gemm:jit") lets the stack pointer walk a small buffer from malloc. A signal's
// frame pushed there overwrites what lies below the buffer, so signals wait for the few microseconds of a
// call.
class SignalsHeld {
 public:
  explicit SignalsHeld(bool hold) : hold_(hold) {
    if (!hold_) return;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~SignalsHeld() {
    if (hold_) pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SignalsHeld(const SignalsHeld&) = delete;
  SignalsHeld& operator=(const SignalsHeld&) = delete;

 private:
  bool hold_;
  sigset_t before_{};
};

// Primitives are planned for one thread: they run inside our own parallel_for, and a primitive planned for
// more threads than it gets skips work (oneDNN 2.6, brgemm matmul).
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

// oneDNN keeps what it plans in a cache of the process, under a lock of its own that a forked child would
// find taken: fork() waits for whoever plans.
core::WaitedMutex<std::shared_mutex> planning_mutex;
class Planning {
 public:
  Planning() : lock_(planning_mutex) {}

 private:
  std::shared_lock<std::shared_mutex> lock_;
  OneThread one_;
};

memory::desc packed_desc(DType dtype, std::int64_t k, std::int64_t n);

dnnl::matmul::primitive_desc describe(const memory::desc& a, const memory::desc& b, const memory::desc& bias,
                                      const memory::desc& c, const dnnl::primitive_attr& attr) {
  const Planning plan;
#if DNNL_VERSION_MAJOR >= 3
  return bias.get_size() != 0 ? dnnl::matmul::primitive_desc(engine(), a, b, bias, c, attr)
                              : dnnl::matmul::primitive_desc(engine(), a, b, c, attr);
#else
  const auto desc = bias.get_size() != 0 ? dnnl::matmul::desc(a, b, bias, c) : dnnl::matmul::desc(a, b, c);
  return dnnl::matmul::primitive_desc(desc, attr, engine());
#endif
}

void append_epilogue(dnnl::post_ops& ops, Epilogue epilogue) {
  const auto append = [&](dnnl::algorithm algorithm, float alpha) {
#if DNNL_VERSION_MAJOR >= 3
    ops.append_eltwise(algorithm, alpha, 0.f);
#else
    ops.append_eltwise(1.f, algorithm, alpha, 0.f);
#endif
  };
  if (epilogue == Epilogue::relu) append(dnnl::algorithm::eltwise_relu, 0.f);
  if (epilogue == Epilogue::gelu) append(dnnl::algorithm::eltwise_gelu_erf, 0.f);
  if (epilogue == Epilogue::gelu_tanh) append(dnnl::algorithm::eltwise_gelu_tanh, 0.f);
  if (epilogue == Epilogue::silu) append(dnnl::algorithm::eltwise_swish, 1.f);
}

// oneDNN has bfloat16 products from AVX-512 on. Elsewhere operands are widened first: the same products of
// the same rounded numbers, summed in float32 too, only no faster than float32.
constinit core::MadeOnce<bool> bfloat16_products;
bool has_bfloat16() {
  return bfloat16_products.get([] {
    const auto type = memory::data_type::bf16;
    const memory::desc a({64, 64}, type, memory::dims{64, 1}), b({64, 64}, type, memory::format_tag::any);
    const memory::desc c({64, 64}, memory::data_type::f32, memory::dims{64, 1});
    try {
      describe(a, b, memory::desc(), c, {});
      return true;
    } catch (const dnnl::error&) {
      return false;
    }
  });
}
DType multiplied_as(DType dtype) {
  return dtype == DType::bfloat16 && !has_bfloat16() ? DType::float32 : dtype;
}

std::shared_ptr<const Planned> build(const Product& key) {
  const auto type = type_of(key.dtype);
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::post_ops ops;
  if (key.accumulate) ops.append_sum(1.f);
  append_epilogue(ops, key.epilogue);
  attr.set_post_ops(ops);
  const memory::desc a({key.m, key.k}, type, memory::dims{key.a_row, key.a_col});
  const memory::desc b = key.packed ? packed_desc(key.dtype, key.k, key.n)
                                    : memory::desc({key.k, key.n}, type, memory::dims{key.b_row, key.b_col});
  const memory::desc c({key.m, key.n}, type_of(key.c_dtype), memory::dims{key.c_row, 1});
  const memory::desc bias =
      key.bias ? memory::desc({1, key.n}, memory::data_type::f32, memory::dims{key.n, 1}) : memory::desc();
  try {
    const auto pd = describe(a, b, bias, c, attr);
    const Planning plan;
    return std::make_shared<Planned>(Planned{dnnl::matmul(pd), a, b, c, bias, pd.scratchpad_desc().get_size(),
                                             std::string_view(pd.impl_info_str()).starts_with("gemm")});
  } catch (const dnnl::error& error) {
    fail(ErrorCode::unsupported, "gemm",
         fmt::format("oneDNN has no {} product of [{}, {}]x[{}, {}] on this CPU ({})", name_of(key.dtype),
                     key.m, key.k, key.k, key.n, error.what()));
  }
}

// Shapes repeat without end in a training run, yet rows vary with the batch: past this many the cache starts
// anew.
constexpr std::size_t kMostProducts = 4096;

// Never destroyed: what a static object of the program's still computes at its end finds them.
struct Products {
  core::WaitedMutex<std::shared_mutex> mutex;
  std::unordered_map<Product, std::shared_ptr<const Planned>, ProductHash> planned;
};
Products& products = *new Products;

std::shared_ptr<const Planned> product(const Product& key) {
  {
    std::shared_lock lock(products.mutex);
    if (auto it = products.planned.find(key); it != products.planned.end()) return it->second;
  }
  auto made = build(key);
  std::unique_lock lock(products.mutex);
  if (products.planned.size() >= kMostProducts) products.planned.clear();
  return products.planned.emplace(key, std::move(made)).first->second;
}

// Whatever the rows of A, B keeps the layout oneDNN chose for 64 of them.
struct PackedDescs {
  core::WaitedMutex<std::mutex> mutex;
  std::map<std::tuple<DType, std::int64_t, std::int64_t>, memory::desc> made;
};
PackedDescs& packed_descs = *new PackedDescs;

memory::desc packed_desc(DType dtype, std::int64_t k, std::int64_t n) {
  const auto key = std::make_tuple(dtype, k, n);
  {
    std::lock_guard lock(packed_descs.mutex);
    if (auto it = packed_descs.made.find(key); it != packed_descs.made.end()) return it->second;
  }
  const auto type = type_of(multiplied_as(dtype));
  try {
    const memory::desc a({64, k}, type, memory::dims{k, 1});
    const memory::desc b({k, n}, type, memory::format_tag::any);
    const memory::desc c({64, n}, memory::data_type::f32, memory::dims{n, 1});
    const memory::desc made = describe(a, b, memory::desc(), c, {}).weights_desc();
    std::lock_guard lock(packed_descs.mutex);
    return packed_descs.made.emplace(key, made).first->second;
  } catch (const dnnl::error& error) {
    fail(ErrorCode::unsupported, "gemm",
         fmt::format("oneDNN has no {} products on this CPU ({})", name_of(dtype), error.what()));
  }
}

void execute_as_float32(const Product& key, const void* a, const void* b, const float* bias, void* c) {
  thread_local Scratch scratch;
  const bool narrow = key.c_dtype == DType::bfloat16;
  const std::int64_t b_floats = key.packed ? 0 : key.k * key.n;
  auto* a_wide = static_cast<float*>(scratch.at_least(
      static_cast<std::size_t>(key.m * key.k + b_floats + (narrow ? key.m * key.n : 0)) * sizeof(float)));
  float* b_wide = a_wide + key.m * key.k;
  float* c_wide = b_wide + b_floats;
  widen_matrix(static_cast<const bfloat16*>(a), key.a_row, key.a_col, key.m, key.k, a_wide);
  Product wide = key;
  wide.dtype = wide.c_dtype = DType::float32;
  wide.a_row = key.k;
  wide.a_col = 1;
  if (!key.packed) {
    widen_matrix(static_cast<const bfloat16*>(b), key.b_row, key.b_col, key.k, key.n, b_wide);
    wide.b_row = key.n;
    wide.b_col = 1;
    b = b_wide;
  }
  if (!narrow) return execute(wide, a_wide, b, bias, c);
  wide.c_row = key.n;
  auto* out = static_cast<bfloat16*>(c);
  if (key.accumulate) widen_matrix(out, key.c_row, 1, key.m, key.n, c_wide);
  execute(wide, a_wide, b, bias, c_wide);
  narrow_matrix(c_wide, key.m, key.n, out, key.c_row);
}

}  // namespace

void execute(const Product& key, const void* a, const void* b, const float* bias, void* c) {
  if (multiplied_as(key.dtype) != key.dtype) return execute_as_float32(key, a, b, bias, c);
  thread_local Scratch scratch;
  const auto made = product(key);
  const OneThread one;
  const auto wrap = [](const memory::desc& desc, const void* data) {
    return memory(desc, engine(), const_cast<void*>(data));
  };
  std::unordered_map<int, memory> args{{DNNL_ARG_SRC, wrap(made->a, a)},
                                       {DNNL_ARG_WEIGHTS, wrap(made->b, b)},
                                       {DNNL_ARG_DST, wrap(made->c, c)}};
  if (bias) args.emplace(DNNL_ARG_BIAS, wrap(made->bias, bias));
  if (made->scratch) {
    const memory::desc desc({static_cast<memory::dim>(made->scratch)}, memory::data_type::u8,
                            memory::format_tag::a);
    args.emplace(DNNL_ARG_SCRATCHPAD, wrap(desc, scratch.at_least(made->scratch)));
  }
  const SignalsHeld held(made->moves_stack);
  made->primitive.execute(stream(), args);
}

bool columns_in_pieces(DType dtype, std::int64_t k, std::int64_t n, std::int64_t piece) {
  if (n % piece != 0) return false;
  const memory::desc whole = packed_desc(dtype, k, n), part = packed_desc(dtype, k, piece);
  if (part.get_size() * static_cast<std::size_t>(n / piece) != whole.get_size()) return false;
    // The size alone says little: plain rows (what AVX2 gets) have the same. A piece must span its own size.
#if DNNL_VERSION_MAJOR >= 3
  if (whole.get_format_kind() != memory::format_kind::blocked) return false;
  const std::int64_t stride = whole.get_strides()[1];
  const auto blocks = whole.get_inner_blks(), axes = whole.get_inner_idxs();
  const auto count = blocks.size();
#else
  if (whole.data.format_kind != dnnl_blocked) return false;
  const auto& layout = whole.data.format_desc.blocking;
  const std::int64_t stride = layout.strides[1];
  const auto* blocks = layout.inner_blks;
  const auto* axes = layout.inner_idxs;
  const auto count = static_cast<std::size_t>(layout.inner_nblks);
#endif
  std::int64_t columns = 1;  // of one block
  for (std::size_t i = 0; i < count; ++i) columns *= axes[i] == 1 ? blocks[i] : 1;
  const auto elements = static_cast<std::int64_t>(part.get_size() / size_of(multiplied_as(dtype)));
  return piece % columns == 0 && piece / columns * stride == elements;
}

}  // namespace onednn

std::size_t packed_bytes(DType dtype, std::int64_t k, std::int64_t n) {
  return k == 0 || n == 0 ? 0 : onednn::packed_desc(dtype, k, n).get_size();
}

void pack(DType source_dtype, const void* b, std::int64_t b_row, std::int64_t b_col, DType dtype,
          std::int64_t k, std::int64_t n, void* packed) {
  if (k == 0 || n == 0) return;
  std::vector<float> rounded;
  if (onednn::multiplied_as(dtype) != dtype || onednn::multiplied_as(source_dtype) != source_dtype) {
    // Packed as float32, but of the numbers that bfloat16 holds.
    const auto round = [&](const auto* values) {
      for (std::int64_t i = 0; i < k; ++i) {
        for (std::int64_t j = 0; j < n; ++j) {
          rounded.push_back(static_cast<float>(static_cast<bfloat16>(values[i * b_row + j * b_col])));
        }
      }
    };
    rounded.reserve(static_cast<std::size_t>(k * n));
    source_dtype == DType::float32 ? round(static_cast<const float*>(b))
                                   : round(static_cast<const bfloat16*>(b));
    source_dtype = DType::float32;
    b = rounded.data();
    b_row = n;
    b_col = 1;
  }
  const onednn::OneThread one;
  const dnnl::memory::desc from({k, n}, onednn::type_of(source_dtype), dnnl::memory::dims{b_row, b_col});
  dnnl::memory source(from, onednn::engine(), const_cast<void*>(b));
  dnnl::memory target(onednn::packed_desc(dtype, k, n), onednn::engine(), packed);
  const auto reorder = [&] {
    const onednn::Planning plan;
    return dnnl::reorder(source, target);
  }();
  reorder.execute(onednn::stream(), source, target);
}

}  // namespace headway::inline v1::kernels
