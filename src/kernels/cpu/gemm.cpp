// The one file that names oneDNN (2.6 and 3.x).
#include <headway/kernels/gemm.h>

#include <omp.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <tuple>
#include <unordered_map>
#include <vector>

#include <dnnl.hpp>
#include <fmt/format.h>

#include <headway/core/allocator.h>
#include <headway/core/error.h>
#include <headway/core/parallel.h>

namespace headway::inline v1::kernels {
namespace {

using dnnl::memory;

// A piece of B stays in half of a 1 MiB L2 while the rows of A stream past it.
constexpr std::int64_t kPieceBytes = 512 << 10;
// Along k a weight gradient adds pieces of 512 tokens: longer ones push B's piece out of L2.
constexpr std::int64_t kDepth = 512;

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
    return std::tie(m, n, k, a_row, a_col, b_row, b_col, c_row, dtype, c_dtype, epilogue, packed, bias, accumulate);
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

// Primitives are planned for one thread: they run inside our own parallel_for, and a primitive planned for more
// threads than it gets skips work (oneDNN 2.6, brgemm matmul).
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
  const memory::desc bias = key.bias ? memory::desc({1, key.n}, memory::data_type::f32, memory::dims{key.n, 1})
                                     : memory::desc();
  try {
    const auto pd = describe(a, b, bias, c, attr);
    return std::make_shared<Product>(Product{dnnl::matmul(pd), a, b, c, bias, pd.scratchpad_desc().get_size()});
  } catch (const dnnl::error& error) {
    fail(ErrorCode::unsupported, "gemm",
         fmt::format("oneDNN has no {} product of [{}, {}]x[{}, {}] on this CPU ({})", name_of(key.dtype), key.m, key.k,
                     key.k, key.n, error.what()));
  }
}

// Shapes repeat without end in a training run, yet rows vary with the batch: past this many the cache starts anew.
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
  const auto wrap = [](const memory::desc& desc, const void* data) {
    return memory(desc, engine(), const_cast<void*>(data));
  };
  std::unordered_map<int, memory> args{{DNNL_ARG_SRC, wrap(made->a, a)},
                                       {DNNL_ARG_WEIGHTS, wrap(made->b, b)},
                                       {DNNL_ARG_DST, wrap(made->c, c)}};
  if (bias) args.emplace(DNNL_ARG_BIAS, wrap(made->bias, bias));
  if (made->scratch) {
    const memory::desc desc({static_cast<memory::dim>(made->scratch)}, memory::data_type::u8, memory::format_tag::a);
    args.emplace(DNNL_ARG_SCRATCHPAD, wrap(desc, scratch.at_least(made->scratch)));
  }
  made->primitive.execute(stream(), args);
}

// Columns of B in one piece: a multiple of 64 (four vectors of 16), the pieces nearly equal.
std::int64_t piece_columns(DType dtype, std::int64_t k, std::int64_t n) {
  const std::int64_t fit = kPieceBytes / (std::max<std::int64_t>(k, 1) * static_cast<std::int64_t>(size_of(dtype)));
  const std::int64_t most = std::clamp<std::int64_t>(fit / 64 * 64, 64, 1024);
  const std::int64_t pieces = (n + most - 1) / most;
  return ((n + pieces - 1) / pieces + 63) / 64 * 64;
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

std::size_t piece_bytes(DType dtype, std::int64_t k, std::int64_t n) {
  return (packed_desc(dtype, k, n).get_size() + 63) / 64 * 64;
}

// Lengths at 16-steps, then the rest below 16: few shapes, so few primitives to compile, whatever the batch.
template <typename Call>
void in_steps(std::int64_t begin, std::int64_t end, Call&& call) {
  const std::int64_t whole = (end - begin) / 16 * 16;
  if (whole > 0) call(begin, begin + whole);
  if (begin + whole < end) call(begin + whole, end);
}

}  // namespace

std::size_t packed_bytes(DType dtype, std::int64_t k, std::int64_t n) {
  if (k == 0 || n == 0) return 0;
  const std::int64_t columns = piece_columns(dtype, k, n);
  std::size_t total = 0;
  for (std::int64_t j = 0; j < n; j += columns) total += piece_bytes(dtype, k, std::min(columns, n - j));
  return total;
}

void pack(DType source_dtype, const void* b, std::int64_t b_row, std::int64_t b_col, DType dtype, std::int64_t k,
          std::int64_t n, void* packed) {
  if (k == 0 || n == 0) return;
  const std::int64_t columns = piece_columns(dtype, k, n);
  const std::size_t full = piece_bytes(dtype, k, std::min(columns, n));
  const auto element = static_cast<std::int64_t>(size_of(source_dtype));
  core::parallel_for((n + columns - 1) / columns, [&](std::int64_t piece) {
    const OneThread plan;
    const std::int64_t begin = piece * columns;
    const std::int64_t width = std::min(columns, n - begin);
    const memory::desc from({k, width}, type_of(source_dtype), memory::dims{b_row, b_col});
    const auto* data = static_cast<const char*>(b) + begin * b_col * element;
    memory source(from, engine(), const_cast<char*>(data));
    memory target(packed_desc(dtype, k, width), engine(), static_cast<char*>(packed) + static_cast<std::size_t>(piece) * full);
    dnnl::reorder(source, target).execute(stream(), source, target);
  });
}

void gemm(const GemmArgs& args) {
  if (args.m == 0 || args.n == 0) return;
  if (args.k == 0) fail(ErrorCode::shape, "gemm", "inner dimension is 0; want at least 1");
  const std::int64_t columns = piece_columns(args.dtype, args.b_packed ? args.k : std::min(args.k, kDepth), args.n);
  const std::int64_t pieces = (args.n + columns - 1) / columns;
  // An unpacked B is copied by oneDNN for every block of rows: fewer, larger blocks then.
  const std::int64_t rows = !args.b_packed && args.m >= 256 ? 128 : args.m >= 128 ? 64 : 32;
  const std::int64_t blocks = (args.m + rows - 1) / rows;
  // A bfloat16 result is rounded once, so it takes the whole depth in one piece.
  const std::int64_t depth = args.b_packed || args.c_dtype == DType::bfloat16 ? args.k : kDepth;
  const auto in = static_cast<std::int64_t>(size_of(args.dtype));
  const auto out = static_cast<std::int64_t>(size_of(args.c_dtype));
  const std::size_t full_piece = args.b_packed ? piece_bytes(args.dtype, args.k, std::min(columns, args.n)) : 0;

  const auto part = [&](std::int64_t i0, std::int64_t i1, std::int64_t piece, std::int64_t l0, std::int64_t l1) {
    const std::int64_t j0 = piece * columns;
    const bool first = l0 == 0;
    const bool last = l1 == args.k;
    const Key key{i1 - i0, std::min(columns, args.n - j0), l1 - l0, args.a_row, args.a_col,
                  args.b_packed ? 0 : args.b_row, args.b_packed ? 0 : args.b_col, args.c_row, args.dtype, args.c_dtype,
                  last ? args.epilogue : Epilogue::none, args.b_packed, args.bias && first, args.accumulate || !first};
    const auto* a = static_cast<const char*>(args.a) + (i0 * args.a_row + l0 * args.a_col) * in;
    const auto* b = static_cast<const char*>(args.b) +
                    (args.b_packed ? piece * static_cast<std::int64_t>(full_piece) : (l0 * args.b_row + j0 * args.b_col) * in);
    auto* c = static_cast<char*>(args.c) + (i0 * args.c_row + j0) * out;
    execute(key, a, b, args.bias && first ? args.bias + j0 : nullptr, c);
  };

  core::parallel_for(pieces * blocks, [&](std::int64_t unit) {
    const std::int64_t piece = unit / blocks;  // neighbours share a piece of B
    const std::int64_t begin = unit % blocks * rows;
    in_steps(begin, std::min(args.m, begin + rows), [&](std::int64_t i0, std::int64_t i1) {
      for (std::int64_t l = 0; l < args.k; l += depth) {
        if (depth == args.k) {
          part(i0, i1, piece, 0, args.k);
        } else {
          in_steps(l, std::min(args.k, l + depth),
                   [&](std::int64_t l0, std::int64_t l1) { part(i0, i1, piece, l0, l1); });
        }
      }
    });
  });
}

}  // namespace headway::inline v1::kernels
