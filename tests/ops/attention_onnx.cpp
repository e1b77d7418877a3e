#include <headway/ops/attention_onnx.h>

#include <gmock/gmock.h>

#include <cmath>
#include <fstream>
#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <support/registry.h>

namespace headway {
namespace {

using nlohmann::json;
using testing::OpCase;
using testing::random;
using Tensors = std::vector<Tensor>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// --- Golden: the operator as onnx's function body computes it
// -------------------------------------------------------

const json& golden() {
  static const json data = [] {
    std::ifstream file(HEADWAY_SOURCE_DIR "/tests/golden/attention_onnx.json");
    return json::parse(file);
  }();
  return data;
}

// [shape, elements], null for -inf.
Tensor read(const json& stored) {
  Shape shape;
  for (const json& size : stored[0]) shape.push_back(size.get<std::int64_t>());
  std::vector<double> values;
  for (const json& value : stored[1]) values.push_back(value.is_null() ? -kInfinity : value.get<double>());
  return from(values, shape);
}

Tensor as_bool(const Tensor& x) {
  const Tensor out = Tensor::empty(x.shape(), DType::boolean);
  for (std::int64_t i = 0; i < x.numel(); ++i) out.data<bool>()[i] = x.data<double>()[i] != 0;
  return out;
}

OnnxAttentionResult run(const json& stored, DType dtype) {
  const json &in = stored["inputs"], &attributes = stored["attributes"];
  const auto input = [&](const char* name) {
    return in.contains(name) ? cast(read(in[name]), dtype) : Tensor();
  };
  OnnxAttentionOptions options;
  if (in.contains("attn_mask")) {
    const Tensor mask = read(in["attn_mask"]);
    options.attn_mask = stored["bool_mask"].get<bool>() ? as_bool(mask) : cast(mask, dtype);
  }
  options.past_key = input("past_key");
  options.past_value = input("past_value");
  if (in.contains("nonpad_kv_seqlen")) {
    options.nonpad_kv_seqlen = in["nonpad_kv_seqlen"][1].get<std::vector<std::int64_t>>();
  }
  options.is_causal = attributes.value("is_causal", 0) != 0;
  options.q_num_heads = attributes.value("q_num_heads", 0);
  options.kv_num_heads = attributes.value("kv_num_heads", 0);
  if (attributes.contains("scale")) options.scale = attributes["scale"].get<double>();
  options.softcap = attributes.value("softcap", 0.0);
  options.qk_matmul_output_mode = static_cast<Scores>(attributes["mode"].get<int>());
  return attention_onnx(input("Q"), input("K"), input("V"), options);
}

// The file's numbers have 7 decimals, and the function body takes the scale's root in float32. Inputs are at
// most 2, so scores at most 12 and carry less than ten roundings of that size, which weights and outputs
// multiply by no more than 2. In bfloat16 the output is rounded besides, and so is qk_matmul_output.
void expect_golden(const Tensor& got, const json& want, DType dtype, const std::string& what) {
  const Tensor expected = read(want);
  ASSERT_EQ(got.shape().str(), expected.shape().str()) << what;
  ASSERT_EQ(got.dtype(), dtype) << what;
  const auto a = testing::values_of(got), b = testing::values_of(expected);
  for (std::size_t i = 0; i < b.size(); ++i) {
    if (a[i] == b[i]) continue;
    const double rounded = dtype == DType::bfloat16 ? 0x1p-8 * std::abs(b[i]) : 0;
    ASSERT_LE(std::abs(a[i] - b[i]), 2 * 12 * 10 * 0x1p-24 + rounded)
        << what << ", element " << i << ": " << a[i] << ", want " << b[i];
  }
}

TEST(AttentionOnnx, gives_what_the_function_body_of_the_operator_gives) {
  ASSERT_GE(golden()["cases"].size(), 30u);
  for (const DType dtype : {DType::float64, DType::float32, DType::bfloat16}) {
    for (const json& stored : golden()["cases"]) {
      const std::string what =
          stored["name"].get<std::string>() + " in " + std::string(name_of(dtype)) + ", ";
      const OnnxAttentionResult got = run(stored, dtype);
      const json& want = stored["outputs"];
      expect_golden(got.y, want["Y"], dtype, what + "Y");
      expect_golden(got.qk_matmul_output, want["qk_matmul_output"], dtype, what + "qk_matmul_output");
      if (!want.contains("present_key")) continue;
      expect_golden(got.present_key, want["present_key"], dtype, what + "present_key");
      expect_golden(got.present_value, want["present_value"], dtype, what + "present_value");
    }
  }
}

// --- As any op
// ------------------------------------------------------------------------------------------------------

// Inputs q, k, v, and then what `options` say is there: a float mask, past_key and past_value.
OpCase one(const std::string& name, const Tensors& inputs, const OnnxAttentionOptions& options,
           bool mask = false) {
  OpCase out;
  out.name = name;
  out.inputs = inputs;
  const auto dim = static_cast<double>(inputs[0].size(-1));
  out.tolerance = {6, 64 + 2 * dim, 2 * std::sqrt(dim)};
  out.run = [=](const Tensors& in) {
    OnnxAttentionOptions call = options;
    std::size_t next = 3;
    if (mask) call.attn_mask = in[next++];
    if (next < in.size()) {
      call.past_key = in[next];
      call.past_value = in[next + 1];
    }
    const OnnxAttentionResult got = attention_onnx(in[0], in[1], in[2], call);
    return next < in.size() ? Tensors{got.y, got.present_key, got.present_value} : Tensors{got.y};
  };
  return out;
}
Tensors apart(std::int64_t queries, std::int64_t keys) {
  return {random({2, 4, queries, 5}, 1), random({2, 2, keys, 5}, 2), random({2, 2, keys, 3}, 3)};
}
Tensors with(Tensors inputs, const Tensors& more) {
  inputs.insert(inputs.end(), more.begin(), more.end());
  return inputs;
}
std::vector<OpCase> small() {
  const Tensors past = {random({2, 2, 2, 5}, 4), random({2, 2, 2, 3}, 5)};
  const Tensors flat = {random({2, 3, 20}, 1), random({2, 4, 10}, 2), random({2, 4, 6}, 3)};
  const OnnxAttentionOptions heads{.is_causal = true, .q_num_heads = 4, .kv_num_heads = 2, .softcap = 1.5};
  return {one("plain", apart(3, 4), {}),
          one("causal, past", with(apart(3, 4), past), {.is_causal = true}),
          one("rank 3", flat, heads),
          one("rank 3, past", with(flat, past), heads),
          one("mask", with(apart(3, 4), {random({2, 1, 3, 4}, 6)}), {}, true),
          one("short mask, past", with(with(apart(3, 4), {random({4, 3, 5}, 6)}), past), {.is_causal = true},
              true),
          one("nonpad", apart(3, 4), {.nonpad_kv_seqlen = {4, 3}, .is_causal = true, .scale = 0.5})};
}
OpCase large() {
  return one("large", {random({3, 4, 130, 24}, 1), random({3, 2, 200, 24}, 2), random({3, 2, 200, 16}, 3)},
             {.is_causal = true});
}
HEADWAY_OP_SUITE(attention_onnx, small, large)

TEST(AttentionOnnx, of_bool_masks_and_no_queries_has_shapes) {
  const Tensors in = apart(0, 4);
  const OnnxAttentionResult got =
      attention_onnx(in[0], in[1], in[2],
                     {.attn_mask = full({1, 4}, 1, DType::boolean), .qk_matmul_output_mode = Scores::masked});
  EXPECT_EQ(got.y.shape().str(), "[2, 4, 0, 3]");
  EXPECT_EQ(got.qk_matmul_output.shape().str(), "[2, 4, 0, 4]");
  EXPECT_EQ(got.present_key.shape().str(), "[2, 2, 4, 5]");
}

TEST(AttentionOnnx, hides_what_is_not_finite_beyond_nonpad_kv_seqlen) {
  const Tensor q = random({2, 4, 3, 5}, 1, DType::float32), k = random({2, 2, 6, 5}, 2, DType::float32),
               v = random({2, 2, 6, 3}, 3, DType::float32);
  for (const Tensor& x : {k, v}) {
    const Tensor padding = slice(x, 2, 4, 6);
    copy_into(padding, full(padding.shape(), std::nan("")));
  }
  const Tensor padded = attention_onnx(q, k, v, {.nonpad_kv_seqlen = {4, 4}}).y;
  testing::expect_bitwise_equal(padded, attention_onnx(q, slice(k, 2, 0, 4), slice(v, 2, 0, 4)).y, "y");
}

TEST(AttentionOnnx, what_does_not_fit_is_refused) {
  const auto message = [](const Tensor& q, const Tensor& k, const Tensor& v,
                          const OnnxAttentionOptions& options = {}) -> std::string {
    try {
      attention_onnx(q, k, v, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  using ::testing::HasSubstr;
  const Tensor x = zeros({2, 4, 3, 5}), flat = zeros({2, 3, 20}), past = zeros({2, 4, 2, 5});
  EXPECT_THAT(message(x, flat, flat),
              HasSubstr("want all [B, heads, T, head_size] or all [B, T, heads * head_size]"));
  EXPECT_THAT(message(flat, flat, flat),
              HasSubstr("q_num_heads is 0; want the heads of [B, T, heads * head_size]"));
  EXPECT_THAT(message(flat, flat, flat, {.q_num_heads = 4, .kv_num_heads = 3}),
              HasSubstr("kv_num_heads is 3"));
  EXPECT_THAT(message(x, x, x, {.q_num_heads = 3}), HasSubstr("q_num_heads is 3; want dimension 1, or none"));
  EXPECT_THAT(message(x, zeros({2, 3, 3, 5}), zeros({2, 3, 3, 5})),
              HasSubstr("heads of q a multiple of theirs"));
  EXPECT_THAT(message(x, x, x, {.past_key = past}), HasSubstr("past_value undefined"));
  EXPECT_THAT(message(x, x, x, {.past_key = past, .past_value = past, .nonpad_kv_seqlen = {3, 3}}),
              HasSubstr("want both of the first, or the third, or none"));
  EXPECT_THAT(message(x, x, x, {.past_key = past, .past_value = zeros({2, 4, 1, 5})}),
              HasSubstr("want one length"));
  EXPECT_THAT(message(x, x, x, {.past_key = zeros({2, 4, 2, 6}), .past_value = past}),
              HasSubstr("want float32 [2, 4, P, 5]"));
  EXPECT_THAT(message(x, x, x, {.attn_mask = zeros({3, 4})}),
              HasSubstr("want it to broadcast to [B, H, T, 3]"));
  EXPECT_THAT(message(x, x, x, {.attn_mask = zeros({2, 3})}), HasSubstr("attn_mask"));
  EXPECT_THAT(message(x, x, x, {.attn_mask = zeros({3, 3}, DType::int32)}),
              HasSubstr("want bool or a floating dtype"));
  EXPECT_THAT(message(x, x, x, {.nonpad_kv_seqlen = {3}}), HasSubstr("1 key_lengths for a batch of 2"));
}

}  // namespace
}  // namespace headway
