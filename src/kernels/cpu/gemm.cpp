// The one file that names oneDNN (2.6 and 3.x).
#include <headway/kernels/gemm.h>

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <tuple>
#include <unordered_map>
#include <vector>

#include <fmt/format.h>
#include <dnnl.hpp>

#include <headway/core/allocator.h>
#include <headway/core/error.h>
#include <headway/core/parallel.h>
#include <headway/kernels/transpose.h>

namespace headway::inline v1::kernels {
namespace {

using dnnl::memory;

// Tokens that a weight gradient takes at a time: with 256 columns of X that is half of a 1 MiB L2, and the
// lengths that occur (512, and multiples of 16 below) are few primitives.
constexpr std::int64_t kDepth = 512;
// Few rows alone would leave threads idle (decoding): then columns are cut, in pieces of 8 of the layout's
// blocks of 64.
constexpr std::int64_t kFewRows = 32;
constexpr std::int64_t kPieceColumns = 512;

dnnl::engine& engine() {
  static dnnl::engine instance(dnnl::engine::kind::cpu, 0);
  return instance;
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

// Everything that makes one primitive differ from another.
struct Key {
  std::int64_t m, n, k, a_row, a_col, b_row, b_col, c_row;
  DType dtype, c_dtype;
  Epilogue epilogue;
  bool packed, bias, accumulate;
  auto tied() const {
    return std::tie(m, n, k, a_row, a_col, b_row, b_col, c_row, dtype, c_dtype, epilogue, packed, bias,
                    accumulate);
  }
  bool operator==(const Key& other) const { return tied() == other.tied(); }
};
struct KeyHash {
  std::size_t operator()(const Key& key) const {
    std::size_t seed = 0;
    const auto mix = [&](auto value) {
      seed ^= static_cast<std::size_t>(value) + 0x9e3779b97f4a7c15u + (seed << 6) + (seed >> 2);
    };
    std::apply([&](auto... part) { (mix(part), ...); }, key.tied());
    return seed;
  }
};

struct Product {
  dnnl::matmul primitive;
  memory::desc a, b, c, bias;
  std::size_t scratch;
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

memory::desc packed_desc(DType dtype, std::int64_t k, std::int64_t n);

dnnl::matmul::primitive_desc describe(const memory::desc& a, const memory::desc& b, const memory::desc& bias,
                                      const memory::desc& c, const dnnl::primitive_attr& attr) {
  const OneThread plan;
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
  if (epilogue == Epilogue::silu) append(dnnl::algorithm::eltwise_swish, 1.f);
}

std::shared_ptr<const Product> build(const Key& key) {
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
    return std::make_shared<Product>(
        Product{dnnl::matmul(pd), a, b, c, bias, pd.scratchpad_desc().get_size()});
  } catch (const dnnl::error& error) {
    fail(ErrorCode::unsupported, "gemm",
         fmt::format("oneDNN has no {} product of [{}, {}]x[{}, {}] on this CPU ({})", name_of(key.dtype),
                     key.m, key.k, key.k, key.n, error.what()));
  }
}

// Shapes repeat without end in a training run, yet rows vary with the batch: past this many the cache starts
// anew.
constexpr std::size_t kMostProducts = 4096;

std::shared_ptr<const Product> product(const Key& key) {
  static std::shared_mutex mutex;
  static std::unordered_map<Key, std::shared_ptr<const Product>, KeyHash> cache;
  {
    std::shared_lock lock(mutex);
    if (auto it = cache.find(key); it != cache.end()) return it->second;
  }
  auto made = build(key);
  std::unique_lock lock(mutex);
  if (cache.size() >= kMostProducts) cache.clear();
  return cache.emplace(key, std::move(made)).first->second;
}

struct Scratch {
  void* pointer = nullptr;
  std::size_t bytes = 0;
  void* at_least(std::size_t wanted) {
    if (wanted > bytes) {
      core::deallocate(pointer, bytes);
      bytes = 0;
      pointer = core::allocate(wanted);
      bytes = wanted;
    }
    return pointer;
  }
  ~Scratch() { core::deallocate(pointer, bytes); }
};

void execute(const Key& key, const void* a, const void* b, const float* bias, void* c) {
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
  made->primitive.execute(stream(), args);
}

// Whatever the rows of A, B keeps the layout oneDNN chose for 64 of them.
memory::desc packed_desc(DType dtype, std::int64_t k, std::int64_t n) {
  static std::mutex mutex;
  static std::map<std::tuple<DType, std::int64_t, std::int64_t>, memory::desc> cache;
  std::lock_guard lock(mutex);
  const auto key = std::make_tuple(dtype, k, n);
  if (auto it = cache.find(key); it != cache.end()) return it->second;
  const auto type = type_of(dtype);
  try {
    const memory::desc a({64, k}, type, memory::dims{k, 1});
    const memory::desc b({k, n}, type, memory::format_tag::any);
    const memory::desc c({64, n}, memory::data_type::f32, memory::dims{n, 1});
    return cache.emplace(key, describe(a, b, memory::desc(), c, {}).weights_desc()).first->second;
  } catch (const dnnl::error& error) {
    fail(ErrorCode::unsupported, "gemm",
         fmt::format("oneDNN has no {} products on this CPU ({})", name_of(dtype), error.what()));
  }
}

// Blocks of columns lie one after another in the packed layout, so that a piece of whole blocks is packed as
// it stands.
bool can_cut(DType dtype, std::int64_t k, std::int64_t n) {
  return n % kPieceColumns == 0 && n > kPieceColumns &&
         packed_desc(dtype, k, kPieceColumns).get_size() * static_cast<std::size_t>(n / kPieceColumns) ==
             packed_desc(dtype, k, n).get_size();
}

// Lengths at 16-steps, then the rest below 16: few shapes, so few primitives to compile, whatever the batch.
template <typename Call>
void in_steps(std::int64_t begin, std::int64_t end, Call&& call) {
  const std::int64_t whole = (end - begin) / 16 * 16;
  if (whole > 0) call(begin, begin + whole);
  if (begin + whole < end) call(begin + whole, end);
}

// Rows of C (and A) in one unit. Each call of oneDNN costs one to two microseconds, so units are as large as
// leaves a dozen of them.
std::int64_t rows_per_unit(std::int64_t m) { return m >= 1024 ? 128 : m >= 256 ? 64 : 32; }

// C [rows, n] is cut by columns: each piece goes through a dense buffer, since oneDNN's fast kernels write no
// other.
void gemm_few_rows(const GemmArgs& args) {
  const auto out = static_cast<std::int64_t>(size_of(args.c_dtype));
  const std::size_t piece_bytes = packed_desc(args.dtype, args.k, kPieceColumns).get_size();
  const Key key{
      args.m,     kPieceColumns, args.k,        args.a_row, args.a_col,           0,    0, kPieceColumns,
      args.dtype, args.c_dtype,  args.epilogue, true,       args.bias != nullptr, false};
  core::parallel_for(args.n / kPieceColumns, [&](std::int64_t piece) {
    thread_local Scratch buffer;
    auto* dense =
        static_cast<char*>(buffer.at_least(static_cast<std::size_t>(kFewRows * kPieceColumns * out)));
    const std::int64_t column = piece * kPieceColumns;
    execute(key, args.a, static_cast<const char*>(args.b) + static_cast<std::size_t>(piece) * piece_bytes,
            args.bias ? args.bias + column : nullptr, dense);
    for (std::int64_t i = 0; i < args.m; ++i) {
      std::memcpy(static_cast<char*>(args.c) + (i * args.c_row + column) * out,
                  dense + i * kPieceColumns * out, static_cast<std::size_t>(kPieceColumns * out));
    }
  });
}

}  // namespace

std::size_t packed_bytes(DType dtype, std::int64_t k, std::int64_t n) {
  return k == 0 || n == 0 ? 0 : packed_desc(dtype, k, n).get_size();
}

void pack(DType source_dtype, const void* b, std::int64_t b_row, std::int64_t b_col, DType dtype,
          std::int64_t k, std::int64_t n, void* packed) {
  if (k == 0 || n == 0) return;
  const OneThread plan;
  const memory::desc from({k, n}, type_of(source_dtype), memory::dims{b_row, b_col});
  memory source(from, engine(), const_cast<void*>(b));
  memory target(packed_desc(dtype, k, n), engine(), packed);
  dnnl::reorder(source, target).execute(stream(), source, target);
}

void gemm(const GemmArgs& args) {
  if (args.m == 0 || args.n == 0) return;
  if (args.k == 0) fail(ErrorCode::shape, "gemm", "inner dimension is 0; want at least 1");
  if (args.b_packed && args.m <= kFewRows && !args.accumulate && can_cut(args.dtype, args.k, args.n)) {
    return gemm_few_rows(args);
  }
  const auto in = static_cast<std::int64_t>(size_of(args.dtype));
  const auto out = static_cast<std::int64_t>(size_of(args.c_dtype));
  core::parallel_ranges(args.m, rows_per_unit(args.m), [&](std::int64_t begin, std::int64_t end) {
    in_steps(begin, end, [&](std::int64_t i0, std::int64_t i1) {
      const Key key{i1 - i0,
                    args.n,
                    args.k,
                    args.a_row,
                    args.a_col,
                    args.b_packed ? 0 : args.b_row,
                    args.b_packed ? 0 : args.b_col,
                    args.c_row,
                    args.dtype,
                    args.c_dtype,
                    args.epilogue,
                    args.b_packed,
                    args.bias != nullptr,
                    args.accumulate};
      execute(key, static_cast<const char*>(args.a) + i0 * args.a_row * in, args.b, args.bias,
              static_cast<char*>(args.c) + i0 * args.c_row * out);
    });
  });
}

std::size_t weight_gradient_workspace(const WeightGradientArgs& args) {
  return static_cast<std::size_t>(args.tokens * args.outputs) * size_of(args.dtype);
}

void weight_gradient(const WeightGradientArgs& args, void* workspace) {
  // dYᵀ, cut by tokens in pieces [outputs][length] that are dense, as oneDNN's fast kernels want them.
  std::vector<std::pair<std::int64_t, std::int64_t>> pieces;
  for (std::int64_t t = 0; t < args.tokens; t += kDepth) {
    in_steps(t, std::min(args.tokens, t + kDepth),
             [&](std::int64_t t0, std::int64_t t1) { pieces.emplace_back(t0, t1); });
  }
  const auto in = static_cast<std::int64_t>(size_of(args.dtype));
  const auto transposed = [&](std::int64_t t0) {
    return static_cast<char*>(workspace) + t0 * args.outputs * in;
  };
  constexpr std::int64_t kColumns = 64;
  const std::int64_t blocks = (args.outputs + kColumns - 1) / kColumns;
  core::parallel_for(static_cast<std::int64_t>(pieces.size()) * blocks, [&](std::int64_t unit) {
    const auto [t0, t1] = pieces[static_cast<std::size_t>(unit / blocks)];
    const std::int64_t o0 = unit % blocks * kColumns;
    const std::int64_t o1 = std::min(args.outputs, o0 + kColumns);
    transpose_elements(args.dtype, static_cast<const char*>(args.dy) + (t0 * args.dy_row + o0) * in,
                       args.dy_row, t1 - t0, o1 - o0, transposed(t0) + o0 * (t1 - t0) * in, t1 - t0);
  });
  // oneDNN copies X for each block of rows anew, so blocks are as large as leaves every thread some.
  core::parallel_ranges(args.outputs, args.outputs >= 512 ? 128 : 64, [&](std::int64_t o0, std::int64_t o1) {
    for (const auto& [t0, t1] : pieces) {
      const std::int64_t length = t1 - t0;
      const Key key{o1 - o0,     args.inputs, length,         length,         1,     args.x_row, 1,
                    args.inputs, args.dtype,  DType::float32, Epilogue::none, false, false,      t0 > 0};
      execute(key, transposed(t0) + o0 * length * in, static_cast<const char*>(args.x) + t0 * args.x_row * in,
              nullptr, args.dw + o0 * args.inputs);
    }
  });
}

}  // namespace headway::inline v1::kernels
