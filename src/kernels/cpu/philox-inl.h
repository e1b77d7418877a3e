// Dropout's random numbers, many calls of Philox at a time. Included after vector-inl.h, once per SIMD target.
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

// Words of calls [first, first + count), and up to a vector of calls beyond. A 64-bit lane carries one 32-bit word of
// the counter in its lower half; what multiplications leave in the upper half is never read by the next MulEven.
HWY_INLINE void draw(const RandomCall& call, std::uint64_t first, std::int64_t count, std::uint64_t* out) {
  const hn::ScalableTag<std::uint64_t> d;
  const hn::Repartition<std::uint32_t, decltype(d)> d32;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto m0 = hn::BitCast(d32, hn::Set(d, 0xD2511F53u));
  const auto m1 = hn::BitCast(d32, hn::Set(d, 0xCD9E8D57u));
  const std::uint64_t key = call.seed ^ (call.call >> 32);
  const auto low = hn::Set(d, 0xffffffffu);
  for (std::int64_t i = 0; i < count; i += lanes) {
    const auto index = hn::Iota(d, first + static_cast<std::uint64_t>(i));
    auto c0 = index;
    auto c1 = hn::ShiftRight<32>(index);
    auto c2 = hn::Zero(d);
    auto c3 = hn::Set(d, static_cast<std::uint32_t>(call.call));
    auto k0 = static_cast<std::uint32_t>(key);
    auto k1 = static_cast<std::uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
      const auto a = hn::MulEven(hn::BitCast(d32, c0), m0);
      const auto b = hn::MulEven(hn::BitCast(d32, c2), m1);
      c0 = hn::Xor(hn::ShiftRight<32>(b), hn::Xor(c1, hn::Set(d, k0)));
      c1 = b;
      c2 = hn::Xor(hn::ShiftRight<32>(a), hn::Xor(c3, hn::Set(d, k1)));
      c3 = a;
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    hn::StoreInterleaved2(hn::Or(hn::And(c0, low), hn::ShiftLeft<32>(c1)),
                          hn::Or(hn::And(c2, low), hn::ShiftLeft<32>(c3)), d, out + 2 * i);
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
  // Room for the vector of calls that draw() may run over, and for whole loads at the tail.
  HWY_ALIGN std::uint64_t words_[2 * (kDropoutChunk / 8 + 1 + 2 * hn::MaxLanes(hn::ScalableTag<std::uint64_t>()))];
};

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
