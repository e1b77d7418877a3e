#include <headway/inspect/alignment.h>

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/format.h>

namespace headway::inline v1::inspect {
namespace {

constexpr const char* kOperation = "align";
constexpr std::string_view kBlank = "\u2581";

bool is_control(std::string_view piece) {
  return piece.size() > 2 && piece.front() == '<' && piece.back() == '>';
}

// Nothing but ASCII punctuation and the signs that German, French and Spanish print add to it.
bool is_punctuation(std::string_view text) {
  constexpr std::array<std::string_view, 13> kSigns = {"„", "“", "”", "‚", "‘", "’", "«",
                                                       "»", "…", "–", "—", "¿", "¡"};
  while (!text.empty()) {
    const auto c = static_cast<unsigned char>(text.front());
    if (c < 0x80) {
      const bool letter = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
      if (letter) return false;
      text.remove_prefix(1);
      continue;
    }
    const auto sign =
        std::find_if(kSigns.begin(), kSigns.end(), [&](std::string_view s) { return text.starts_with(s); });
    if (sign == kSigns.end()) return false;
    text.remove_prefix(sign->size());
  }
  return true;
}

std::size_t bounds_checked(const AlignmentInput& input, std::int64_t layer, std::int64_t head) {
  if (layer < 0 || layer >= static_cast<std::int64_t>(input.cross.size())) {
    fail(ErrorCode::value, kOperation,
         fmt::format("layer is {}; want 0 to {}", layer, static_cast<std::int64_t>(input.cross.size()) - 1));
  }
  const Tensor& map = input.cross[static_cast<std::size_t>(layer)];
  const Shape wanted{map.rank() == 3 ? map.size(0) : 1,
                     static_cast<std::int64_t>(input.target_written.size()),
                     static_cast<std::int64_t>(input.source_tokens.size())};
  if (!(map.shape() == wanted)) {
    fail(ErrorCode::shape, kOperation,
         fmt::format("cross-attention of layer {} is {}; want [H, {}, {}], one row and column for each token",
                     layer, map.describe(), wanted[1], wanted[2]));
  }
  if (head < 0 || head >= map.size(0)) {
    fail(ErrorCode::value, kOperation, fmt::format("head is {}; want 0 to {}", head, map.size(0) - 1));
  }
  return static_cast<std::size_t>(wanted[1] * wanted[2]);
}

struct Scored {
  HeadAlignment alignment;
  double seen = 0;   // numerator of the peak
  double words = 0;  // denominator
};

Scored score(const AlignmentInput& input, std::int64_t layer, std::int64_t head) {
  const std::size_t area = bounds_checked(input, layer, head);
  const std::vector<float> all = input.cross[static_cast<std::size_t>(layer)].to_vector<float>();
  const float* map = all.data() + static_cast<std::size_t>(head) * area;
  const std::size_t keys = input.source_tokens.size();
  const std::vector<Word> sources = words_of(input.source_tokens);
  const std::vector<Word> targets = words_of(input.target_written);

  Scored out;
  out.alignment.layer = layer;
  out.alignment.head = head;
  out.words = static_cast<double>(targets.size());
  std::vector<double> largest(sources.size());
  for (const Word& target : targets) {
    std::vector<double> weights(keys);
    for (std::size_t t = target.first; t < target.last; ++t) {
      for (std::size_t s = 0; s < keys; ++s) {
        weights[s] +=
            static_cast<double>(map[t * keys + s]) / static_cast<double>(target.last - target.first);
      }
    }
    std::size_t best = sources.size();
    double best_weight = 0;
    std::vector<double> elsewhere = weights;
    for (std::size_t w = 0; w < sources.size(); ++w) {
      double weight = 0;
      for (std::size_t s = sources[w].first; s < sources[w].last; ++s) {
        weight += weights[s];
        elsewhere[s] = 0;
      }
      if (weight > best_weight) {
        best = w;
        best_weight = weight;
      }
    }
    const bool other =
        std::any_of(elsewhere.begin(), elsewhere.end(), [&](double weight) { return weight > best_weight; });
    if (best == sources.size() || other) continue;
    largest[best] = std::max(largest[best], best_weight);
    out.alignment.links.push_back({target.text, sources[best].text, best_weight});
  }
  for (const double weight : largest) out.seen += weight;
  out.alignment.peak = out.words > 0 ? out.seen / out.words : 0;
  return out;
}

}  // namespace

std::vector<Word> words_of(const std::vector<std::string>& pieces) {
  std::vector<Word> words;
  bool open = false;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    std::string_view piece = pieces[i];
    const bool begins = piece.starts_with(kBlank);
    if (begins) piece.remove_prefix(kBlank.size());
    if (is_control(piece) || (!piece.empty() && is_punctuation(piece))) {
      open = false;
      continue;
    }
    if (begins || !open) words.push_back({.text = {}, .first = i, .last = i});
    words.back().text += piece;
    words.back().last = i + 1;
    open = true;
  }
  std::erase_if(words, [](const Word& word) { return word.text.empty(); });
  return words;
}

HeadAlignment align(const AlignmentInput& input, std::int64_t layer, std::int64_t head) {
  return score(input, layer, head).alignment;
}

std::vector<HeadAlignment> best_alignment(const std::vector<AlignmentInput>& inputs) {
  std::vector<HeadAlignment> best;
  double best_peak = -1;
  if (inputs.empty()) return best;
  const std::vector<Tensor>& layers = inputs.front().cross;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    for (std::int64_t h = 0; h < layers[l].size(0); ++h) {
      std::vector<HeadAlignment> candidate;
      double seen = 0;
      double words = 0;
      for (const AlignmentInput& input : inputs) {
        Scored scored = score(input, static_cast<std::int64_t>(l), h);
        seen += scored.seen;
        words += scored.words;
        candidate.push_back(std::move(scored.alignment));
      }
      const double peak = words > 0 ? seen / words : 0;
      for (HeadAlignment& alignment : candidate) alignment.peak = peak;
      if (peak > best_peak) {
        best_peak = peak;
        best = std::move(candidate);
      }
    }
  }
  return best;
}

}  // namespace headway::inline v1::inspect
