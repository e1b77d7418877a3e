#include <memory>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headway/attention/tile_plan.h>
#include <headway/inspect/tile_map.h>
#include <headway/ops/explain.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"

namespace headway::cli {
namespace {

struct Options {
  std::int64_t batch = 1, length = 4096, keys = 0, heads = 8, kv_heads = 0, head_dim = 64;
  std::string mask = "causal", position = "none", dtype = "float32", picture;
  double dropout = 0;
  bool json = false;
};

void print_json(const AttentionExplanation& e) {
  const nlohmann::ordered_json out{{"path", e.path},
                                   {"mask", e.mask},
                                   {"isa", e.isa},
                                   {"query_block", e.query_block},
                                   {"key_tile", e.key_tile},
                                   {"full_tiles", e.full_tiles},
                                   {"partial_tiles", e.partial_tiles},
                                   {"pairs", e.pairs},
                                   {"visible_pairs", e.visible_pairs},
                                   {"computed_pairs", e.computed_pairs},
                                   {"forward_operations", e.forward_operations},
                                   {"backward_operations", e.backward_operations},
                                   {"tensor_bytes", e.tensor_bytes},
                                   {"plan_bytes", e.plan_bytes},
                                   {"forward_workspace", e.forward_workspace},
                                   {"backward_workspace", e.backward_workspace},
                                   {"reasons", e.reasons}};
  put_json(out);
}

void run(const Options& o) {
  const std::int64_t keys = o.keys > 0 ? o.keys : o.length;
  const std::int64_t kv_heads = o.kv_heads > 0 ? o.kv_heads : o.heads;
  const DType dtype = o.dtype == "bfloat16" ? DType::bfloat16 : DType::float32;
  const auto shaped = [&](std::int64_t length, std::int64_t heads) {
    return Tensor::empty({o.batch, length, heads, o.head_dim}, dtype, Device::meta);
  };
  Generator generator;
  const Mask mask = Mask::parse(o.mask);
  const Position position = o.position == "rope"    ? Position::rope()
                            : o.position == "alibi" ? Position::alibi()
                                                    : Position();
  const AttentionExplanation explanation =
      explain_attention(shaped(o.length, o.heads), shaped(keys, kv_heads), shaped(keys, kv_heads),
                        {.mask = mask, .position = position, .dropout = o.dropout, .generator = &generator});
  if (!o.picture.empty())
    inspect::write_tile_map(o.picture, TilePlan(mask, PlanShape::padded(1, 1, o.length, keys)));
  if (o.json) return print_json(explanation);
  put("attention B={} T={} S={} H={} G={} D={}, {}\n{}", o.batch, o.length, keys, o.heads, kv_heads,
      o.head_dim, name_of(dtype), explanation.str());
  if (!o.picture.empty()) put("tile map  {}\n", o.picture);
}

}  // namespace

void add_explain_command(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "explain", "Which path attention takes for a mask and shape, what it computes, and why");
  add_number(*command, "--length", options->length, whole(1), "Queries T");
  add_number(*command, "--keys", options->keys, whole(1), "Keys S (default: T)");
  add_number(*command, "--batch", options->batch, whole(1), "Sequences B");
  add_number(*command, "--heads", options->heads, whole(1), "Heads H");
  add_number(*command, "--kv-heads", options->kv_heads, whole(1), "Key/value heads G (default: H)");
  add_number(*command, "--head-dim", options->head_dim, whole(1), "Dimension D of each head");
  command
      ->add_option(
          "--mask", options->mask,
          "causal, window(left, right), dilated(left, right, step), strided(stride), fixed(stride, summary), "
          "global(positions), random_blocks(block, count, seed), big_bird, documents(offsets); & | ! ( )")
      ->capture_default_str();
  command->add_option("--position", options->position, "none, alibi or rope")
      ->check(CLI::IsMember({"none", "alibi", "rope"}))
      ->capture_default_str();
  add_number(*command, "--dropout", options->dropout, share(), "Probability of dropping a weight");
  command->add_option("--dtype", options->dtype, "float32 or bfloat16")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  command->add_option("--picture", options->picture, "Also draw the tiles of one head to this SVG file");
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options] { run(*options); });
}

}  // namespace headway::cli
