#include "kernels/cpu/pair_products.h"

#include <atomic>
#include <bit>

#include <hwy/targets.h>

#include <headway/core/fork.h>

namespace headway::inline v1::kernels {
namespace {

// Asked once: to ask the processor costs some 20 us inside a virtual machine, and every unit of work comes
// here.
struct Processor {
  bool wide_vectors, avx2, pairs;
  Processor() {
    const std::int64_t targets = hwy::SupportedTargets();
    wide_vectors = (targets & (HWY_AVX3 | (HWY_AVX3 - 1))) != 0;
    avx2 = (targets & HWY_AVX2) != 0;
#if HWY_ARCH_X86
    pairs = wide_vectors && __builtin_cpu_supports("avx512bf16") != 0;
#else
    pairs = false;
#endif
  }
};

constinit core::MadeOnce<Processor> the_processor;
const Processor& processor_here() {
  return the_processor.get([] { return Processor(); });
}

std::atomic<PairProducts> wanted = PairProducts::best;

bool wanted_here() {
  const Processor& processor = processor_here();
  switch (wanted.load(std::memory_order_relaxed)) {
    case PairProducts::never:
      return false;
    case PairProducts::always:
      // Wide vectors have the instruction or nothing; AVX2 widens.
      return processor.pairs || (!processor.wide_vectors && processor.avx2);
    case PairProducts::best:
      break;
  }
  return processor.pairs;
}

bool has_words(const HeadRows& rows) {
  return rows.row % 2 == 0 && rows.head % 2 == 0 && std::bit_cast<std::uintptr_t>(rows.data) % 4 == 0;
}

}  // namespace

PairProducts set_pair_products(PairProducts products) { return wanted.exchange(products); }

bool multiplies_pairs() {
  return wanted.load(std::memory_order_relaxed) != PairProducts::never && processor_here().pairs;
}

bool in_pairs(const AttentionArgs& args) {
  return args.dtype == DType::bfloat16 && wanted_here() && args.dim % 2 == 0 && args.value_dim % 2 == 0 &&
         has_words(args.q) && has_words(args.k) && has_words(args.v) && !args.relative_keys.data &&
         !args.relative_values.data;
}

bool in_pairs(const AttentionGradArgs& args) { return in_pairs(args.forward) && has_words(args.d_o); }

}  // namespace headway::inline v1::kernels
