#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include <headway/core/error.h>

#include "text/hub/aligned.h"
#include "text/hub/models.h"
#include "text/hub/normalizers.h"

namespace headway::inline v1::text::hub {
namespace {

constexpr std::size_t kCachedWords = 1 << 14;
constexpr std::size_t kLongestCached = 256;  // bytes
constexpr std::size_t kScanned = 24;  // symbols: below, the best pair is looked for, above it is queued

struct Merged {
  std::uint32_t rank = std::numeric_limits<std::uint32_t>::max();
  std::int32_t id = -1;
};

// (left id, right id) -> rank and id of what they merge to, by open addressing.
class MergeTable {
 public:
  explicit MergeTable(std::size_t count) {
    std::size_t size = 16;
    while (size < count * 2 + 1) size *= 2;
    slots_.resize(size);
  }
  void add(std::int32_t left, std::int32_t right, Merged merged) {
    const std::uint64_t key = key_of(left, right);
    std::size_t at = slot_of(key);
    while (slots_[at].key != kEmpty && slots_[at].key != key) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = {key, merged};
  }
  Merged find(std::int32_t left, std::int32_t right) const {
    const std::uint64_t key = key_of(left, right);
    for (std::size_t at = slot_of(key); slots_[at].key != kEmpty; at = (at + 1) & (slots_.size() - 1)) {
      if (slots_[at].key == key) return slots_[at].merged;
    }
    return {};
  }

 private:
  static constexpr std::uint64_t kEmpty = ~0ULL;
  struct Slot {
    std::uint64_t key = kEmpty;
    Merged merged;
  };
  static std::uint64_t key_of(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
  }
  std::size_t slot_of(std::uint64_t key) const {
    return static_cast<std::size_t>((key ^ key >> 29) * 0x9E3779B97F4A7C15ULL >> 24) & (slots_.size() - 1);
  }
  std::vector<Slot> slots_;
};

// Byte-pair encoding (Sennrich et al. 2016): of the pairs in the merge list, the earliest is merged first.
class Bpe final : public Model {
 public:
  explicit Bpe(Fields& fields) : merges_(array_of(fields.at("merges"), fields.where("merges")).size()) {
    tokens_ = TokenIndex(fields.at("vocab"), fields.where("vocab"));
    if (const Json* dropout = fields.find("dropout")) {
      if (!dropout->is_number() || dropout->get<double>() != 0) {
        fail_unsupported(fields.where("dropout"), "would cut texts at random; want none");
      }
    }
    prefix_ = fields.string("continuing_subword_prefix", "");
    suffix_ = fields.string("end_of_word_suffix", "");
    fuse_unknown_ = fields.boolean("fuse_unk", false);
    byte_fallback_ = fields.boolean("byte_fallback", false);
    ignore_merges_ = fields.boolean("ignore_merges", false);
    if (const auto unknown = fields.maybe_string("unk_token")) {
      unknown_ = tokens_.find(*unknown);
      if (unknown_ < 0)
        fail_format(fields.where("unk_token"), fmt::format("'{}' is not in the vocabulary", *unknown));
    }
    read_merges(fields);
    fields.done();
    for (int byte = 0; byte < 256; ++byte) {
      byte_ids_[static_cast<std::size_t>(byte)] = tokens_.find(byte_token(static_cast<unsigned char>(byte)));
    }
  }

  bool take_bytes() override {
    if (!prefix_.empty() || !suffix_.empty()) return false;
    std::array<std::int32_t, 256> letters;
    for (int byte = 0; byte < 256; ++byte) {
      std::string letter;
      append_utf8(letter, letter_of_byte(static_cast<unsigned char>(byte)));
      letters[static_cast<std::size_t>(byte)] = tokens_.find(letter);
      if (letters[static_cast<std::size_t>(byte)] < 0) return false;
    }
    letters_ = letters;
    bytes_ = true;
    if (!ignore_merges_) return true;
    for (std::int32_t id = 0; id < tokens_.size(); ++id) {
      const std::string* token = tokens_.token(id);
      std::string plain;
      for (std::size_t at = 0; token != nullptr && at < token->size();) {
        const int byte = byte_of_letter(next_code_point(*token, at));
        if (byte < 0) {
          plain.clear();
          break;
        }
        plain.push_back(static_cast<char>(byte));
      }
      if (!plain.empty()) whole_.add(plain, id);
    }
    return true;
  }

  void tokenize(std::string_view piece, ModelCache& cache, std::vector<ModelToken>& out) const override {
    if (piece.empty()) return;
    if (ignore_merges_) {
      const std::int32_t id = find_whole(piece);
      if (id >= 0) {
        out.push_back({id, 0, static_cast<std::uint32_t>(piece.size())});
        return;
      }
    }
    if (piece.size() > kLongestCached) {
      merge(piece, cache, out);
      return;
    }
    if (cache.words.empty()) cache.words.resize(kCachedWords);
    ModelCache::Entry& entry = cache.words[std::hash<std::string_view>{}(piece) & (kCachedWords - 1)];
    if (entry.word != piece) {
      entry.tokens.clear();
      entry.word.clear();
      merge(piece, cache, entry.tokens);
      entry.word = piece;
    }
    out.insert(out.end(), entry.tokens.begin(), entry.tokens.end());
  }

 private:
  void read_merges(Fields& fields) {
    const Json& merges = fields.at("merges");
    const std::string where = fields.where("merges");
    std::uint32_t rank = 0;
    std::string joined;
    for (const Json& merge : merges) {
      std::string_view left;
      std::string_view right;
      if (merge.is_string()) {
        const std::string_view line = merge.get_ref<const std::string&>();
        if (line.starts_with("#version")) continue;
        const std::size_t blank = line.find(' ');
        if (blank == std::string_view::npos || line.find(' ', blank + 1) != std::string_view::npos) {
          fail_format(where, fmt::format("entry {} is '{}'; want two tokens", rank, line));
        }
        left = line.substr(0, blank);
        right = line.substr(blank + 1);
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
        left = merge[0].get_ref<const std::string&>();
        right = merge[1].get_ref<const std::string&>();
      } else {
        fail_format(where, fmt::format("entry {} is no pair of tokens", rank));
      }
      joined = left;
      if (right.size() >= prefix_.size()) joined += right.substr(prefix_.size());
      const std::int32_t left_id = tokens_.find(left);
      const std::int32_t right_id = tokens_.find(right);
      const std::int32_t id = tokens_.find(joined);
      if (left_id < 0 || right_id < 0 || id < 0) {
        fail_format(where,
                    fmt::format("entry {} merges '{}' and '{}' to '{}', and '{}' is not in the vocabulary",
                                rank, left, right, joined,
                                left_id < 0    ? left
                                : right_id < 0 ? right
                                               : joined));
      }
      merges_.add(left_id, right_id, {rank++, id});
    }
  }

  std::int32_t find_whole(std::string_view piece) const {
    if (!bytes_) return tokens_.find(piece);
    std::int32_t found = -1;
    whole_.walk(piece, [&](std::size_t length, std::int32_t id) {
      if (length == piece.size()) found = id;
    });
    return found;
  }

  static void add(ModelCache& cache, std::int32_t id, std::uint32_t begin, std::uint32_t end) {
    const auto at = static_cast<std::int32_t>(cache.symbols.size());
    cache.symbols.push_back({id, at - 1, at + 1, begin, end});
  }

  void spell(std::string_view piece, ModelCache& cache) const {
    cache.symbols.clear();
    if (bytes_) {
      for (std::uint32_t i = 0; i < piece.size(); ++i) {
        add(cache, letters_[static_cast<unsigned char>(piece[i])], i, i + 1);
      }
      return;
    }
    std::uint32_t unknown_begin = 0;
    std::uint32_t unknown_end = 0;
    const auto end_unknown = [&] {
      if (unknown_begin < unknown_end) add(cache, unknown_, unknown_begin, unknown_end);
      unknown_begin = unknown_end = 0;
    };
    std::string spelled;
    for (std::uint32_t at = 0; at < piece.size();) {
      const std::uint32_t begin = at;
      at += utf8_length(piece[at]);
      std::string_view symbol = piece.substr(begin, at - begin);
      if ((begin > 0 && !prefix_.empty()) || (at == piece.size() && !suffix_.empty())) {
        spelled.clear();
        if (begin > 0) spelled += prefix_;
        spelled += symbol;
        if (at == piece.size()) spelled += suffix_;
        symbol = spelled;
      }
      const std::int32_t id = tokens_.find(symbol);
      if (id >= 0) {
        end_unknown();
        add(cache, id, begin, at);
      } else if (byte_fallback_ && has_bytes(symbol)) {
        // As in `tokenizers`, an unknown run that came before is written only when a known symbol follows.
        for (std::uint32_t i = 0; i < symbol.size(); ++i) {
          add(cache, byte_ids_[static_cast<unsigned char>(symbol[i])], begin + i, begin + i + 1);
        }
      } else if (unknown_ >= 0) {
        if (!fuse_unknown_) end_unknown();
        if (unknown_begin == unknown_end) unknown_begin = begin;
        unknown_end = at;
      }
    }
    end_unknown();
  }

  bool has_bytes(std::string_view symbol) const {
    return std::all_of(symbol.begin(), symbol.end(),
                       [&](char c) { return byte_ids_[static_cast<unsigned char>(c)] >= 0; });
  }

  void merge(std::string_view piece, ModelCache& cache, std::vector<ModelToken>& out) const {
    spell(piece, cache);
    if (cache.symbols.empty()) return;
    cache.symbols.back().next = -1;
    cache.symbols.size() <= kScanned ? merge_scanning(cache) : merge_queued(cache);
    std::uint32_t at = 0;  // symbols that no token stands for take no part of the piece, as in `tokenizers`
    for (std::int32_t i = 0; i >= 0; i = cache.symbols[static_cast<std::size_t>(i)].next) {
      const auto& symbol = cache.symbols[static_cast<std::size_t>(i)];
      const std::uint32_t length = symbol.end - symbol.begin;
      out.push_back({symbol.id, at, at + length});
      at += length;
    }
  }

  static void join(ModelCache& cache, std::int32_t at, std::int32_t id) {
    auto& left = cache.symbols[static_cast<std::size_t>(at)];
    auto& right = cache.symbols[static_cast<std::size_t>(left.next)];
    left.id = id;
    left.end = left.begin + (left.end - left.begin) + (right.end - right.begin);
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) cache.symbols[static_cast<std::size_t>(left.next)].previous = at;
  }

  void merge_scanning(ModelCache& cache) const {
    auto& symbols = cache.symbols;
    auto& pairs = cache.queue;  // of each symbol with its next
    pairs.resize(symbols.size());
    const auto look = [&](std::int32_t at) {
      const auto& symbol = symbols[static_cast<std::size_t>(at)];
      const Merged merged = symbol.next < 0
                                ? Merged{}
                                : merges_.find(symbol.id, symbols[static_cast<std::size_t>(symbol.next)].id);
      pairs[static_cast<std::size_t>(at)] = {merged.rank, at, merged.id};
    };
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(symbols.size()); ++i) look(i);
    while (true) {
      ModelCache::Merge best{std::numeric_limits<std::uint32_t>::max(), -1, -1};
      for (std::int32_t i = 0; i >= 0; i = symbols[static_cast<std::size_t>(i)].next) {
        if (pairs[static_cast<std::size_t>(i)].rank < best.rank) best = pairs[static_cast<std::size_t>(i)];
      }
      if (best.id < 0) return;
      join(cache, best.at, best.id);
      look(best.at);
      const std::int32_t previous = symbols[static_cast<std::size_t>(best.at)].previous;
      if (previous >= 0) look(previous);
    }
  }

  void merge_queued(ModelCache& cache) const {
    auto& symbols = cache.symbols;
    auto& queue = cache.queue;
    queue.clear();
    const auto later = [](const ModelCache::Merge& a, const ModelCache::Merge& b) {
      return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
    };
    const auto look = [&](std::int32_t at) {
      const auto& symbol = symbols[static_cast<std::size_t>(at)];
      if (symbol.next < 0) return;
      const Merged merged = merges_.find(symbol.id, symbols[static_cast<std::size_t>(symbol.next)].id);
      if (merged.id < 0) return;
      queue.push_back({merged.rank, at, merged.id});
      std::push_heap(queue.begin(), queue.end(), later);
    };
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(symbols.size()); ++i) look(i);
    while (!queue.empty()) {
      std::pop_heap(queue.begin(), queue.end(), later);
      const ModelCache::Merge top = queue.back();
      queue.pop_back();
      const auto& symbol = symbols[static_cast<std::size_t>(top.at)];
      if (symbol.id < 0 || symbol.next < 0) continue;
      const Merged now = merges_.find(symbol.id, symbols[static_cast<std::size_t>(symbol.next)].id);
      if (now.id != top.id || now.id < 0) continue;  // the pair is no longer there
      join(cache, top.at, top.id);
      if (symbol.previous >= 0) look(symbol.previous);
      look(top.at);
    }
  }

  MergeTable merges_;
  std::string prefix_, suffix_;
  bool fuse_unknown_, byte_fallback_, ignore_merges_;
  bool bytes_ = false;
  std::array<std::int32_t, 256> letters_{};
  std::array<std::int32_t, 256> byte_ids_{};
  Trie whole_;  // byte strings of the tokens, where whole pieces are looked up
};

}  // namespace

std::shared_ptr<Model> read_bpe(Fields fields) { return std::make_shared<Bpe>(fields); }

}  // namespace headway::inline v1::text::hub
