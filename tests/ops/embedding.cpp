#include <headway/ops/embedding.h>

#include <gmock/gmock.h>

#include <headway/ops/composed.h>
#include <support/registry.h>

namespace headway {
namespace {

using testing::OpCase;
using testing::random;
using testing::random_ids;
using Tensors = std::vector<Tensor>;

using Lookup = Tensor (*)(const Tensor&, const Tensor&, const EmbeddingOptions&);
// Tables stay float32 when the output is bfloat16; run() sees that the test works in bfloat16 by an input of
// that dtype, which multiplies the result.
testing::Function runs(Lookup lookup, const Tensor& ids, const Tensor& places) {
  return [=](const Tensors& in) {
    EmbeddingOptions options{.scale = 3,
                             .output = in[1].dtype() == DType::bfloat16 ? DType::bfloat16 : DType::float32};
    if (places.defined()) {
      options.positions = in[2];
      options.position_ids = places;
    }
    return Tensors{mul(lookup(ids, in[0], options), in[1])};
  };
}

OpCase one(const Shape& shape, std::int64_t rows, std::int64_t dim, bool placed) {
  const Tensor ids = random_ids(shape, rows, 1);
  const Tensor places = placed ? random_ids(shape, 4, 2) : Tensor();
  Shape result = shape;
  result.push_back(dim);
  Tensors inputs = {random({rows, dim}, 3), random(result, 4)};
  std::vector<bool> parameter = {true, false};
  if (placed) {
    inputs.push_back(random({4, dim}, 5));
    parameter.push_back(true);
  }
  // Products of two stored values; gradients add up those of the ids that are equal, in float32.
  return {
      shape.str() + " of " + std::to_string(dim), runs(embedding, ids, places), inputs, {4, 16}, parameter};
}

std::vector<OpCase> small() {
  std::vector<OpCase> cases;
  for (std::int64_t n = 1; n <= 40; ++n) cases.push_back(one({5}, 3, n, n % 2));
  for (std::int64_t n = 63; n <= 65; ++n) cases.push_back(one({2, 2}, 3, n, n % 2));
  cases.push_back(one({0}, 3, 8, true));
  cases.push_back(one({}, 3, 8, false));
  return cases;
}
OpCase large() { return one({900}, 300, 130, true); }
HEADWAY_OP_SUITE(embedding, small, large)

std::vector<std::pair<OpCase, testing::Function>> pairs() {
  std::vector<std::pair<OpCase, testing::Function>> all;
  for (const bool placed : {false, true}) {
    const OpCase op = one({2, 6}, 5, 19, placed);
    all.emplace_back(op, runs(composed::embedding, random_ids({2, 6}, 5, 1),
                              placed ? random_ids({2, 6}, 4, 2) : Tensor()));
  }
  return all;
}
HEADWAY_OP_COMPOSED(embedding, pairs)

OpCase gathered(const Shape& shape, std::int64_t count) {
  const Tensor index = random_ids({count}, shape[0], 1);
  return {shape.str(),
          [=](const Tensors& in) { return Tensors{gather(in[0], index)}; },
          {random(shape, 2)},
          {1, 8}};
}
std::vector<OpCase> gather_small() {
  std::vector<OpCase> cases;
  for (std::int64_t n = 1; n <= 40; ++n) cases.push_back(gathered({3, n}, 4));
  cases.push_back(gathered({3, 2, 5}, 7));
  cases.push_back(gathered({3}, 7));
  cases.push_back(gathered({3, 5}, 0));
  return cases;
}
OpCase gather_large() { return gathered({300, 130}, 900); }
HEADWAY_OP_SUITE(gather, gather_small, gather_large)

TEST(Embedding, gradient_of_a_row_adds_up_over_its_occurrences) {
  const Tensor table = require_grad(zeros({4, 2}));
  const Tensor y = embedding(from<std::int32_t>({2, 0, 2, 2}, {4}), table, {.scale = 2});
  y.backward(from<float>({1, 10, 2, 20, 3, 30, 4, 40}, {4, 2}));
  EXPECT_THAT(table.grad().to_vector<float>(), ::testing::ElementsAre(4, 40, 0, 0, 16, 160, 0, 0));
}

TEST(Embedding, an_id_outside_the_vocabulary_is_named_with_its_place_and_a_hint) {
  for (const std::int32_t bad : {7, -1}) {
    try {
      embedding(from<std::int32_t>({0, 1, bad}, {3}), zeros({7, 2}));
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::value);
      EXPECT_THAT(error.what(), ::testing::HasSubstr("id " + std::to_string(bad) +
                                                     " at place 2 is outside the table of 7 rows"));
      EXPECT_THAT(error.what(), ::testing::HasSubstr("vocabulary"));
    }
  }
}

TEST(Embedding, what_does_not_fit_is_refused) {
  const Tensor ids = from<std::int32_t>({0, 1}, {2}), table = zeros({3, 4});
  EXPECT_THROW(embedding(zeros({2}), table), Error);
  EXPECT_THROW(embedding(ids, zeros({3})), Error);
  EXPECT_THROW(embedding(ids, zeros({3, 4}, DType::bfloat16)), Error);
  EXPECT_THROW(embedding(ids, table, {.output = DType::int32}), Error);
  EXPECT_THROW(embedding(ids, table, {.positions = zeros({9, 5})}), Error);
  EXPECT_THROW(embedding(ids, table, {.positions = zeros({9, 4})}), Error);
  EXPECT_THROW(embedding(ids, table, {.positions = zeros({1, 4}), .position_ids = ids}), Error);
}

TEST(Gather, an_index_outside_is_refused) {
  EXPECT_THROW(gather(zeros({3, 4}), from<std::int32_t>({3}, {1})), Error);
  EXPECT_THROW(gather(zeros({}), from<std::int32_t>({0}, {1})), Error);
}

}  // namespace
}  // namespace headway
