#include <algorithm>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>

#include <gtest/gtest.h>

#include <headway/core/factory.h>
#include <headway/models/transformer.h>
#include <headway/nn/multi_head_attention.h>
#include <headway/ops/embedding.h>

/// docs/mistakes.md promises messages; here every slip on it is made, and the page must show what came of it.
namespace headway::nn {
namespace {

// The page's ```text blocks, in order.
std::vector<std::string> messages_on_page() {
  std::ifstream page(HEADWAY_SOURCE_DIR "/docs/mistakes.md");
  std::vector<std::string> out;
  bool inside = false;
  for (std::string line; std::getline(page, line);) {
    if (line == "```text") {
      inside = true;
      out.emplace_back();
    } else if (line == "```") {
      inside = false;
    } else if (inside) {
      out.back() += (out.back().empty() ? "" : "\n") + line;
    }
  }
  return out;
}

std::string message_of(const std::function<void()>& slip) {
  try {
    slip();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void layer(const MultiHeadAttentionOptions& options, const Tensor& x = {}, const AttendOptions& call = {}) {
  Generator generator(1);
  MultiHeadAttention mha(options, generator);
  if (x.defined()) mha(x, call);
}

AttentionOptions masked(const Mask& mask) {
  AttentionOptions options;
  options.mask = mask;
  return options;
}

AttendOptions padded(const Mask& mask) {
  AttendOptions options;
  options.mask = mask;
  return options;
}

Tensor visible(const Shape& shape) { return ones(shape, DType::boolean); }

// In the order of the page.
std::vector<std::function<void()>> slips() {
  const Tensor q = zeros({2, 10, 8, 64});
  const Tensor k = zeros({2, 12, 8, 64});
  const Tensor ids = from(std::vector<std::int32_t>{4, 5000, 7}, {3});
  return {
      [] { layer({.model_dim = 100, .heads = 8}); },
      [] {
        layer({.model_dim = 100,
               .heads = 8,
               .head_dim = 12,
               .projection = Projection::split,
               .head_input = HeadInput::slice});
      },
      [] {
        attention(zeros({2, 10, 8, 64}), zeros({2, 10, 8, 32}), zeros({2, 10, 8, 32}));
      },
      [] {
        layer({.model_dim = 512, .heads = 8}, zeros({2, 10, 64}));
      },
      [] {
        attention(zeros({2, 8, 10, 64}), zeros({2, 8, 12, 64}), zeros({2, 8, 12, 64}));
      },
      [] {
        attention(zeros({10, 2, 8, 64}), zeros({12, 2, 8, 64}), zeros({12, 2, 8, 64}));
      },
      [] {
        layer({.model_dim = 64, .heads = 8}, zeros({10, 2, 64}), padded(Mask::padding({10, 7})));
      },
      [=] {
        attention(q, k, k, masked(Mask::allow(visible({12, 10}))));
      },
      [=] {
        attention(q, k, k, masked(Mask::allow(visible({2, 10, 12}))));
      },
      [] {
        Mask::allow(zeros({10, 12}));
      },
      [=] {
        AttentionOptions options;
        options.bias = visible({10, 12});
        attention(q, k, k, options);
      },
      [] {
        const Tensor x = zeros({2, 10, 512});
        attention(x, x, x);
      },
      [] {
        const Tensor x = zeros({10, 512});
        attention(x, x, x);
      },
      [] {
        layer({.model_dim = 512, .heads = 8}, zeros({2, 10, 8, 64}));
      },
      [] {
        attention(zeros({2, 10, 8, 64}), zeros({2, 12, 8, 64}), zeros({2, 11, 8, 64}));
      },
      [=] {
        embedding(ids, zeros({1000, 64}));
      },
      [=] {
        models::TransformerOptions options;
        options.source_vocab = options.target_vocab = 1000;
        options.model_dim = 32;
        options.encoder_layers = options.decoder_layers = 1;
        options.feed_forward_dim = 32;
        Generator generator(1);
        models::Transformer model(options, generator);
        model.encode(ids, {0, 3});
      },
  };
}

TEST(Mistakes, each_gets_the_message_that_the_page_shows) {
  const std::vector<std::string> page = messages_on_page();
  const auto all = slips();
  ASSERT_EQ(page.size(), all.size()) << "a message without a slip, or a slip without a message";
  for (std::size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(message_of(all[i]), page[i]) << "message " << i + 1 << " of the page";
}

TEST(Mistakes, swapped_axes_that_shapes_cannot_show_run_without_an_error) {
  EXPECT_EQ(message_of([] {
              const Tensor heads_first = zeros({2, 8, 10, 64});
              attention(heads_first, heads_first, heads_first);
            }),
            "no error");
}

}  // namespace
}  // namespace headway::nn
