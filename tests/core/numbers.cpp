#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <set>

#include <headway/core/dtype.h>
#include <headway/core/random_stream.h>

namespace headway {
namespace {

TEST(BFloat16, every_pattern_survives_the_way_through_float32) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    bfloat16 x;
    x.bits = static_cast<std::uint16_t>(bits);
    const auto wide = static_cast<float>(x);
    ASSERT_EQ(std::bit_cast<std::uint32_t>(wide), bits << 16);
    const bfloat16 back(wide);
    if (std::isnan(wide)) {
      ASSERT_EQ(back.bits, bits | 0x40u);  // quiet, payload kept
    } else {
      ASSERT_EQ(back.bits, bits);
    }
  }
}

TEST(BFloat16, rounds_between_every_two_neighbours_to_the_nearest_and_ties_to_even) {
  for (std::uint32_t bits = 0; bits < 0x7f80; ++bits) {
    const auto round = [&](std::uint32_t low) {
      return bfloat16(std::bit_cast<float>(bits << 16 | low)).bits;
    };
    ASSERT_EQ(round(0x7fff), bits);
    ASSERT_EQ(round(0x8000), bits + (bits & 1));
    ASSERT_EQ(round(0x8001), bits + 1);
  }
}

// The value of a binary16 pattern, from its definition.
double half_value(std::uint32_t bits) {
  const std::uint32_t exponent = bits >> 10 & 31, fraction = bits & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -24)
                                         : std::ldexp(1024 + fraction, static_cast<int>(exponent) - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

TEST(Float16, every_pattern_has_the_value_of_its_definition_and_survives_the_way_through_float32) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    float16 x;
    x.bits = static_cast<std::uint16_t>(bits);
    const auto wide = static_cast<float>(x);
    if ((bits & 0x7c00) == 0x7c00) {
      ASSERT_EQ(std::isnan(wide), (bits & 1023) != 0);
      ASSERT_EQ(std::isinf(wide), (bits & 1023) == 0);
    } else {
      ASSERT_EQ(static_cast<double>(wide), half_value(bits)) << bits;
    }
    ASSERT_EQ(std::signbit(wide), (bits & 0x8000) != 0);
    if (std::isnan(wide)) {
      ASSERT_TRUE(std::isnan(static_cast<float>(float16(wide))));
    } else {
      ASSERT_EQ(float16(wide).bits, bits);
    }
  }
}

TEST(Float16, rounds_between_every_two_neighbours_to_the_nearest_and_ties_to_even) {
  for (std::uint32_t bits = 0; bits < 0x7bff; ++bits) {
    // The midpoint of two neighbours is a float32, and so are the numbers next to it.
    const auto middle = static_cast<float>((half_value(bits) + half_value(bits + 1)) / 2);
    ASSERT_EQ(float16(middle).bits, bits + (bits & 1)) << bits;
    ASSERT_EQ(float16(std::nextafter(middle, 0.0f)).bits, bits);
    ASSERT_EQ(float16(std::nextafter(middle, 1e9f)).bits, bits + 1);
  }
  EXPECT_EQ(float16(65519.996f).bits, 0x7bff);
  EXPECT_EQ(float16(65520.0f).bits, 0x7c00);
  EXPECT_EQ(float16(-1e30f).bits, 0xfc00);
}

using Words = std::array<std::uint32_t, 4>;

// Known answers of Philox4x32-10 from the Random123 distribution (kat_vectors).
TEST(Philox, gives_the_known_answers) {
  EXPECT_EQ(core::philox({0, 0, 0, 0}, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(core::philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffffffffffff),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(core::philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Generator, a_call_depends_on_seed_and_number_alone) {
  Generator a(7), b(7), c(8);
  const RandomCall first = a.next(), second = a.next();
  EXPECT_EQ(first.words(5), b.next().words(5));
  EXPECT_NE(first.words(5), second.words(5));
  EXPECT_NE(first.words(5), c.next().words(5));
  EXPECT_NE(first.words(5), first.words(6));
  EXPECT_NE(first.words(5), first.words(5, 1));
  Generator restored(a.seed(), a.next_call());
  EXPECT_EQ(restored.next().words(0), a.next().words(0));
}

TEST(RandomStream, depends_on_seed_and_coordinates_alone) {
  Generator generator(7);
  const std::uint64_t seed = core::random_stream(generator, 3, 2).seed();
  for (int i = 0; i < 5; ++i) generator.next();
  EXPECT_EQ(core::random_stream(generator, 3, 2).seed(), seed);
  EXPECT_EQ(core::random_stream(generator, 3, 2).next_call(), 0u);
  EXPECT_EQ(generator.next_call(), 5u);
  std::set<std::uint64_t> seeds;
  for (std::uint64_t s = 0; s < 4; ++s) {
    for (std::uint64_t a = 0; a < 64; ++a) {
      for (std::uint64_t b = 0; b < 16; ++b) seeds.insert(core::random_stream(Generator(s), a, b).seed());
    }
  }
  EXPECT_EQ(seeds.size(), 4u * 64 * 16);
  EXPECT_NE(core::random_stream(Generator(7), 1, std::uint64_t{1} << 32).seed(),
            core::random_stream(Generator(7), 1, 0).seed());
  EXPECT_NE(core::random_stream(Generator(7), std::uint64_t{1} << 32, 1).seed(),
            core::random_stream(Generator(7), 0, 1).seed());
}

TEST(Generator, below_is_below_and_reaches_every_number) {
  Generator generator(1);
  std::array<int, 7> seen{};
  for (int i = 0; i < 700; ++i) {
    const auto value = generator.below(7);
    ASSERT_LT(value, 7u);
    ++seen[value];
  }
  // 100 expected of each; 50 is more than five deviations (9.3) below.
  for (const int count : seen) EXPECT_GT(count, 50);
}

TEST(Generator, uniform_lies_in_its_interval_with_the_mean_of_it) {
  Generator generator(2);
  double mean = 0;
  for (int i = 0; i < 4096; ++i) {
    const double value = generator.uniform();
    ASSERT_TRUE(value >= 0 && value < 1);
    mean += value / 4096;
  }
  EXPECT_NEAR(mean, 0.5, 5 / std::sqrt(12.0 * 4096));
}

}  // namespace
}  // namespace headway
