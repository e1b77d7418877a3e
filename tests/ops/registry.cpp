#include <support/registry.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace headway {
namespace {

// Public ops, as declared: a line "HEADWAY_API <type> <name>(" in include/headway/ops, but for the
// compositions and what only explains.
std::set<std::string> declared_ops() {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(HEADWAY_SOURCE_DIR "/include/headway/ops")) {
    const auto name = entry.path().filename();
    if (name.extension() != ".h" || name == "composed.h" || name == "explain.h") continue;
    std::ifstream file(entry.path());
    for (std::string line; std::getline(file, line);) {
      const std::string declared = line.substr(0, line.find('('));
      if (line.rfind("HEADWAY_API ", 0) == 0 && declared.size() < line.size()) {
        names.insert(declared.substr(declared.find_last_of(" &*") + 1));
      }
    }
  }
  return names;
}

TEST(Registry, finds_the_declared_ops) {
  const auto ops = declared_ops();
  for (const char* op : {"softmax", "layer_norm", "split", "copy_into", "attention"})
    EXPECT_TRUE(ops.count(op)) << op;
}

TEST(Registry, every_op_has_every_check) {
  const std::set<std::string> without_gradient = {"top_k", "token_scores", "copy_into"};
  const std::set<std::string> fused = {"layer_norm", "rms_norm",  "cross_entropy",   "embedding",
                                       "linear",     "attention", "merge_attention", "rotary"};
  for (const std::string& op : declared_ops()) {
    std::set<std::string> wanted = {"reference", "meta", "threads", "non_contiguous"};
    if (!without_gradient.count(op)) wanted.insert("gradcheck");
    if (fused.count(op)) wanted.insert("composed");
    for (const std::string& check : wanted) {
      EXPECT_TRUE(testing::op_registry()[op].count(check)) << op << " has no " << check << " check";
    }
  }
}

TEST(Registry, names_only_declared_ops) {
  const auto ops = declared_ops();
  for (const auto& [op, checks] : testing::op_registry()) EXPECT_TRUE(ops.count(op) || checks.empty()) << op;
}

}  // namespace
}  // namespace headway
