// Encodes a file of lines: tokenizer_lines TOKENIZER LINES OUT [plain|pair]. Writes for each line its ids,
// type ids and offsets as three lines of numbers, for tests/peers/compare_tokenizers.py to compare. `time`
// instead of OUT prints seconds for one pass over all lines.
#include <chrono>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include <headway/core/parallel.h>
#include <headway/text/hub_tokenizer.h>

namespace hw = headway;

namespace {

void write(std::ofstream& out, const hw::text::Encoding& encoding, const std::string& decoded) {
  for (const auto id : encoding.ids) out << id << ' ';
  out << '\n';
  for (const auto id : encoding.type_ids) out << id << ' ';
  out << '\n';
  for (const auto& range : encoding.offsets) out << range.begin << ' ' << range.end << ' ';
  out << '\n';
  for (const char c : decoded) out << (c == '\n' ? '\1' : c);  // U+0001 stands for a line feed
  out << '\n';
}

int run(const std::vector<std::string>& arguments) {
  const auto tokenizer = hw::text::HubTokenizer::load(arguments[0]);
  std::ifstream file(arguments[1], std::ios::binary);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    for (char& c : line) c = c == '\1' ? '\n' : c;
    lines.push_back(line);
  }
  if (arguments[2] == "time") {
    hw::set_threads(1);
    double best = 1e9;
    std::size_t tokens = 0;
    for (int round = 0; round < 3; ++round) {
      tokens = 0;
      const auto start = std::chrono::steady_clock::now();
      for (const auto& encoding : tokenizer.encode(lines)) tokens += encoding.size();
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    std::cout << best << ' ' << tokens << '\n';
    return 0;
  }
  std::ofstream out(arguments[2], std::ios::binary);
  hw::text::EncodeOptions options;
  const std::string mode = arguments.size() > 3 ? arguments[3] : "";
  options.add_special_tokens = mode != "plain";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (mode == "pair") options.pair = lines[(i + 1) % lines.size()];
    const auto encoding = tokenizer.encode(lines[i], options);
    write(out, encoding, tokenizer.decode(encoding.ids));
  }
  return out ? 0 : 1;
}

}  // namespace

int main(int count, char** values) {
  try {
    const std::vector<std::string> arguments(values + 1, values + count);
    if (arguments.size() < 3) return 2;
    return run(arguments);
  } catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
  }
}
