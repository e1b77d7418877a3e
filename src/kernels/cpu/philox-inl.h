// Dropout's random numbers, many calls of Philox at a time. Included after vector-inl.h, once per SIMD
// target.
#if defined(HEADWAY_KERNELS_CPU_PHILOX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADWAY_KERNELS_CPU_PHILOX_INL_H_
#undef HEADWAY_KERNELS_CPU_PHILOX_INL_H_
#else
#define HEADWAY_KERNELS_CPU_PHILOX_INL_H_
#endif

#include <headway/kernels/dropout.h>
#include <kernels/cpu/vector-inl.h>

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

// Elements whose decisions are drawn together.
inline constexpr std::int64_t kDropoutChunk = 512;

using U64 = hn::ScalableTag<std::uint64_t>;

// The counters of a vector of calls. A 64-bit lane carries one 32-bit word in its lower half; what a
// multiplication leaves in the upper half is never read by the next one.
struct Counters {
  hn::Vec<U64> c0, c1, c2, c3;

  HWY_INLINE Counters(const RandomCall& call, std::uint64_t first) {
    const U64 d;
    c0 = hn::Iota(d, first);
    c1 = hn::ShiftRight<32>(c0);
    c2 = hn::Zero(d);
    c3 = hn::Set(d, static_cast<std::uint32_t>(call.call));
  }
  HWY_INLINE void round(std::uint32_t k0, std::uint32_t k1) {
    const U64 d;
    const hn::Repartition<std::uint32_t, U64> d32;
    const auto a = hn::MulEven(hn::BitCast(d32, c0), hn::BitCast(d32, hn::Set(d, 0xD2511F53u)));
    const auto b = hn::MulEven(hn::BitCast(d32, c2), hn::BitCast(d32, hn::Set(d, 0xCD9E8D57u)));
    c0 = hn::Xor(hn::ShiftRight<32>(b), hn::Xor(c1, hn::Set(d, k0)));
    c1 = b;
    c2 = hn::Xor(hn::ShiftRight<32>(a), hn::Xor(c3, hn::Set(d, k1)));
    c3 = a;
  }
  HWY_INLINE void write(std::uint64_t* out) const {
    const U64 d;
    const auto low = hn::Set(d, 0xffffffffu);
    hn::StoreInterleaved2(hn::Or(hn::And(c0, low), hn::ShiftLeft<32>(c1)),
                          hn::Or(hn::And(c2, low), hn::ShiftLeft<32>(c3)), d, out);
  }
};

// Words of calls [first, first + count), and up to two vectors of calls beyond. Two vectors go side by side:
// the ten rounds of one are a chain of multiplications.
HWY_INLINE void draw(const RandomCall& call, std::uint64_t first, std::int64_t count, std::uint64_t* out) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(U64()));
  const std::uint64_t key = call.seed ^ (call.call >> 32);
  for (std::int64_t i = 0; i < count; i += 2 * lanes) {
    Counters a(call, first + static_cast<std::uint64_t>(i));
    Counters b(call, first + static_cast<std::uint64_t>(i + lanes));
    auto k0 = static_cast<std::uint32_t>(key);
    auto k1 = static_cast<std::uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
      a.round(k0, k1);
      b.round(k0, k1);
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    a.write(out + 2 * i);
    b.write(out + 2 * (i + lanes));
  }
}

// The decisions for up to kDropoutChunk elements of consecutive linear indices.
class Decisions {
 public:
  explicit Decisions(const Dropout& dropout)
      : dropout_(dropout), threshold_(dropout.threshold), scale_(static_cast<float>(dropout.scale())) {}

  HWY_INLINE void draw_from(std::int64_t element, std::int64_t count) {
    shift_ = element % 8;
    draw(dropout_.call, static_cast<std::uint64_t>(element / 8), (shift_ + count + 7) / 8, words_);
  }
  // v[j] is element i + j of those drawn. What is dropped is not multiplied.
  HWY_INLINE VF apply(VF v, std::int64_t i) const {
    const U32 d;
    const auto* halves = reinterpret_cast<const std::uint16_t*>(words_) + shift_ + i;
    const auto random = hn::PromoteTo(d, hn::LoadU(U16(), halves));
    const auto dropped = hn::RebindMask(F32(), hn::Lt(random, hn::Set(d, threshold_)));
    return hn::IfThenZeroElse(dropped, hn::Mul(v, hn::Set(F32(), scale_)));
  }

 private:
  const Dropout& dropout_;
  std::uint32_t threshold_;
  float scale_;
  std::int64_t shift_ = 0;
  // Room for the vectors of calls that draw() may run over, and for whole loads at the tail.
  HWY_ALIGN std::uint64_t words_[2 * (kDropoutChunk / 8 + 1 + 2 * hn::MaxLanes(U64()))];
};

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
