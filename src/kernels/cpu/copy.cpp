#include <headway/kernels/copy.h>

#include <cstring>

#include <headway/core/parallel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/copy.cpp"
#include <hwy/foreach_target.h>

#include <kernels/cpu/vector-inl.h>

HWY_BEFORE_NAMESPACE();
namespace headway::inline v1::kernels::HWY_NAMESPACE {

void widen_range(const bfloat16* from, float* to, std::int64_t count) {
  const F32 d;
  for_vectors(count, [&](std::int64_t i, auto part)
                         HEADWAY_BODY { store(d, load(d, from + i, part), to + i, part); });
}
void narrow_range(const float* from, bfloat16* to, std::int64_t count) {
  const F32 d;
  for_vectors(count, [&](std::int64_t i, auto part)
                         HEADWAY_BODY { store(d, load(d, from + i, part), to + i, part); });
}

}  // namespace headway::inline v1::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headway::inline v1::kernels {
HWY_EXPORT(widen_range);
HWY_EXPORT(narrow_range);
namespace {

constexpr std::int64_t kGrain = 1 << 15;

// The shape without dimensions of size 1, neighbours merged where both sides step evenly over them.
struct Walk {
  int rank = 0;
  std::int64_t size[Shape::max_rank], from[Shape::max_rank], to[Shape::max_rank];
};

Walk merge(const Shape& shape, const Strides& from, const Strides& to) {
  Walk walk;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] == 1) continue;
    const int last = walk.rank - 1;
    if (walk.rank && walk.from[last] == from[i] * shape[i] && walk.to[last] == to[i] * shape[i]) {
      walk.size[last] *= shape[i];
      walk.from[last] = from[i];
      walk.to[last] = to[i];
    } else {
      walk.size[walk.rank] = shape[i];
      walk.from[walk.rank] = from[i];
      walk.to[walk.rank] = to[i];
      ++walk.rank;
    }
  }
  if (walk.rank == 0) {
    walk.size[0] = walk.from[0] = walk.to[0] = 1;
    walk.rank = 1;
  }
  return walk;
}

template <typename T>
void copy_walk(const Walk& walk, const T* from, T* to) {
  const int last = walk.rank - 1;
  const std::int64_t inner = walk.size[last];
  std::int64_t outer = 1;
  for (int i = 0; i < last; ++i) outer *= walk.size[i];
  const std::int64_t grain = std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, inner));
  core::parallel_ranges(outer, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const T* source = from;
      T* target = to;
      std::int64_t rest = row;
      for (int i = last - 1; i >= 0; --i) {
        source += rest % walk.size[i] * walk.from[i];
        target += rest % walk.size[i] * walk.to[i];
        rest /= walk.size[i];
      }
      if (walk.from[last] == 1 && walk.to[last] == 1) {
        std::memcpy(target, source, static_cast<std::size_t>(inner) * sizeof(T));
      } else {
        for (std::int64_t i = 0; i < inner; ++i) target[i * walk.to[last]] = source[i * walk.from[last]];
      }
    }
  });
}

template <typename From, typename To>
To converted(From value) {
  if constexpr (std::is_same_v<To, bool>) {
    if constexpr (sizeof(From) == 2)
      return static_cast<float>(value) != 0;
    else
      return value != From(0);
  } else if constexpr (sizeof(To) == 2) {
    return To(static_cast<float>(value));
  } else if constexpr (sizeof(From) == 2) {
    return static_cast<To>(static_cast<float>(value));
  } else {
    return static_cast<To>(value);
  }
}

template <typename From, typename To>
void convert_all(const void* from, void* to, std::int64_t count) {
  const auto* source = static_cast<const From*>(from);
  auto* target = static_cast<To*>(to);
  core::parallel_ranges(count, kGrain, [&](std::int64_t begin, std::int64_t end) {
    if constexpr (std::is_same_v<From, float> && std::is_same_v<To, bfloat16>) {
      HWY_DYNAMIC_DISPATCH(narrow_range)(source + begin, target + begin, end - begin);
    } else if constexpr (std::is_same_v<From, bfloat16> && std::is_same_v<To, float>) {
      HWY_DYNAMIC_DISPATCH(widen_range)(source + begin, target + begin, end - begin);
    } else {
      for (std::int64_t i = begin; i < end; ++i) target[i] = converted<From, To>(source[i]);
    }
  });
}

template <typename From>
void convert_from(const void* from, DType to_dtype, void* to, std::int64_t count) {
  switch (to_dtype) {
    case DType::float32:
      return convert_all<From, float>(from, to, count);
    case DType::float64:
      return convert_all<From, double>(from, to, count);
    case DType::bfloat16:
      return convert_all<From, bfloat16>(from, to, count);
    case DType::float16:
      return convert_all<From, float16>(from, to, count);
    case DType::int32:
      return convert_all<From, std::int32_t>(from, to, count);
    case DType::int64:
      return convert_all<From, std::int64_t>(from, to, count);
    case DType::boolean:
      return convert_all<From, bool>(from, to, count);
  }
}

}  // namespace

void copy_strided(std::size_t width, const Shape& shape, const void* from, const Strides& from_strides,
                  void* to, const Strides& to_strides) {
  if (shape.numel() == 0) return;
  const Walk walk = merge(shape, from_strides, to_strides);
  switch (width) {
    case 1:
      return copy_walk(walk, static_cast<const std::uint8_t*>(from), static_cast<std::uint8_t*>(to));
    case 2:
      return copy_walk(walk, static_cast<const std::uint16_t*>(from), static_cast<std::uint16_t*>(to));
    case 4:
      return copy_walk(walk, static_cast<const std::uint32_t*>(from), static_cast<std::uint32_t*>(to));
    default:
      return copy_walk(walk, static_cast<const std::uint64_t*>(from), static_cast<std::uint64_t*>(to));
  }
}

void convert(DType from_dtype, const void* from, DType to_dtype, void* to, std::int64_t count) {
  switch (from_dtype) {
    case DType::float32:
      return convert_from<float>(from, to_dtype, to, count);
    case DType::float64:
      return convert_from<double>(from, to_dtype, to, count);
    case DType::bfloat16:
      return convert_from<bfloat16>(from, to_dtype, to, count);
    case DType::float16:
      return convert_from<float16>(from, to_dtype, to, count);
    case DType::int32:
      return convert_from<std::int32_t>(from, to_dtype, to, count);
    case DType::int64:
      return convert_from<std::int64_t>(from, to_dtype, to, count);
    case DType::boolean:
      return convert_from<bool>(from, to_dtype, to, count);
  }
}

}  // namespace headway::inline v1::kernels
#endif
