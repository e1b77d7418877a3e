#include "hub/weights.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <optional>
#include <regex>
#include <set>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/error.h>
#include <headway/io/stored_tensor.h>
#include <headway/ops/views.h>

namespace headway::inline v1::hub {
namespace {

std::string numbered(std::string name, std::int64_t layer) {
  const std::size_t at = name.find("{}");
  return at == std::string::npos ? name : name.replace(at, 2, std::to_string(layer));
}

std::int64_t rows_of(const Shape& shape) {
  std::int64_t rows = 1;
  for (int d = 0; d + 1 < shape.rank(); ++d) rows *= shape[d];
  return shape.rank() == 0 ? 1 : rows;
}
// A vector is a column here: its elements are cut and joined as a matrix's rows are.
std::int64_t width_of(const Shape& shape) { return shape.rank() <= 1 ? 1 : shape[-1]; }
std::int64_t height_of(const Shape& shape) { return shape.rank() <= 1 ? shape.numel() : rows_of(shape); }

struct Piece {
  io::StoredTensor stored;
  std::int64_t begin = 0, rows = 0, width = 0, interleaved_heads = 0;
};

// Rows begin … begin + rows - 1 of a stored tensor.
void read_piece(const Piece& piece, float* out) {
  const bool vector = piece.stored.shape.rank() <= 1;
  const auto read = [&](float* to) {
    if (!vector) return io::read_rows(piece.stored, piece.begin, piece.rows, to);
    std::vector<float> whole(static_cast<std::size_t>(piece.stored.shape.numel()));
    io::read_rows(piece.stored, 0, 1, whole.data());
    std::copy_n(whole.data() + piece.begin, piece.rows, to);
  };
  if (piece.interleaved_heads == 0) return read(out);
  std::vector<float> rows(static_cast<std::size_t>(piece.rows * piece.width));
  read(rows.data());
  const std::int64_t head_dim = piece.rows / piece.interleaved_heads;
  for (std::int64_t r = 0; r < piece.rows; ++r) {
    std::copy_n(rows.data() + r * piece.width, piece.width,
                out + half_split_place(r, head_dim) * piece.width);
  }
}

Tensor assembled(const Shape& shape, std::vector<Piece> pieces, bool transposed) {
  return Tensor::on_demand(
      shape, DType::float32, [shape, pieces = std::move(pieces), transposed](void* bytes) {
        auto* out = static_cast<float*>(bytes);
        if (!transposed) {
          for (const Piece& piece : pieces) {
            read_piece(piece, out);
            out += piece.rows * piece.width;
          }
          return;
        }
        const std::int64_t outputs = shape[0], inputs = shape[1];  // the file has [inputs, outputs]
        std::vector<float> theirs(static_cast<std::size_t>(inputs * outputs));
        read_piece(pieces[0], theirs.data());
        for (std::int64_t o = 0; o < outputs; ++o) {
          for (std::int64_t i = 0; i < inputs; ++i)
            out[o * inputs + i] = theirs[static_cast<std::size_t>(i * outputs + o)];
        }
      });
}

std::string listed(const std::vector<std::string>& names) {
  const std::size_t shown = std::min<std::size_t>(names.size(), 5);
  std::string out;
  for (std::size_t i = 0; i < shown; ++i) out += (i ? ", " : "") + names[i];
  return names.size() > shown ? fmt::format("{} and {} more", out, names.size() - shown) : out;
}

DType dtype_of(io::StoredType type) {
  switch (type) {
    case io::StoredType::f16:
      return DType::float16;
    case io::StoredType::bf16:
      return DType::bfloat16;
    case io::StoredType::f64:
      return DType::float64;
    default:
      return DType::float32;
  }
}

const Rule* rule_for(const WeightTable& table, const std::string& ours) {
  const auto found =
      std::find_if(table.rules.begin(), table.rules.end(), [&](const Rule& r) { return r.ours == ours; });
  return found == table.rules.end() ? nullptr : &*found;
}

// What a file holds beside the model's weights. Of other types than these nothing can be written (masks of
// the oldest GPT-2 files, in bytes).
std::optional<Kept> kept_of(const io::StoredTensor& stored, const Origin& origin,
                            const io::StoredTensors& files) {
  constexpr std::array kinds{io::StoredType::f64,    io::StoredType::f32, io::StoredType::f16,
                             io::StoredType::bf16,   io::StoredType::i64, io::StoredType::i32,
                             io::StoredType::boolean};
  if (std::find(kinds.begin(), kinds.end(), stored.type) == kinds.end()) return std::nullopt;
  Kept kept{.stored = stored, .alike = {}};
  for (const auto& [name, dtype] : origin.dtypes) {
    const io::StoredTensor& used = files.at(name);
    if (used.type == stored.type && used.shape == stored.shape) kept.alike.push_back(used);
  }
  return kept;
}

// The name of the tensor that a kept one is tied to, or an empty one. Compared when it is written: bytes that
// are not used need not be read for loading.
std::string twin_of(const Kept& kept) {
  const auto bytes = [](const io::StoredTensor& of) { return of.file->bytes(of.begin, of.bytes); };
  const auto twin = std::ranges::find_if(kept.alike, [&](const io::StoredTensor& other) {
    return std::ranges::equal(bytes(other), bytes(kept.stored));
  });
  return twin == kept.alike.end() ? std::string() : twin->name;
}

// The elements of a kept tensor, and the type to write them in.
std::pair<Tensor, DType> as_it_came(const io::StoredTensor& stored) {
  switch (stored.type) {
    case io::StoredType::i64:
      return {io::as(stored, DType::int64), DType::int64};
    case io::StoredType::i32:
      return {io::as(stored, DType::int32), DType::int32};
    case io::StoredType::boolean:
      return {io::as(stored, DType::boolean), DType::boolean};
    case io::StoredType::f64:
      return {io::as(stored, DType::float64), DType::float64};
    default:
      return {io::as_float32(stored), dtype_of(stored.type)};
  }
}

}  // namespace

std::int64_t half_split_place(std::int64_t row, std::int64_t head_dim) {
  const std::int64_t in_head = row % head_dim;
  return row - in_head + in_head % 2 * (head_dim / 2) + in_head / 2;
}

std::vector<Rule> each_layer(const std::vector<Rule>& rules, std::int64_t layers) {
  std::vector<Rule> out;
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    for (Rule rule : rules) {
      rule.ours = numbered(rule.ours, layer);
      for (Source& source : rule.sources) source.name = numbered(source.name, layer);
      out.push_back(std::move(rule));
    }
  }
  return out;
}

Origin bind_weights(const nn::Module& module, const WeightTable& table, const io::StoredTensors& files,
                    const std::string& what) {
  Origin origin;
  std::vector<std::string> missing, surplus;
  const auto resolve = [&](const std::string& name) -> const io::StoredTensor* {
    const io::StoredTensor* found = files.find(name);
    if (!found && !table.prefix.empty()) {
      found = name.starts_with(table.prefix) ? files.find(name.substr(table.prefix.size()))
                                             : files.find(table.prefix + name);
    }
    if (!found) {
      missing.push_back(name);
      return nullptr;
    }
    origin.names[name] = found->name;
    origin.dtypes[found->name] = dtype_of(found->type);
    return found;
  };
  for (const nn::NamedParameter& parameter : module.parameters()) {
    const Rule* rule = rule_for(table, parameter.name);
    if (!rule)
      fail(ErrorCode::internal, what, fmt::format("no rule says where {} comes from", parameter.name));
    const Shape& shape = parameter.tensor.shape();
    std::vector<Piece> pieces;
    std::int64_t rows = 0;
    for (const Source& source : rule->sources) {
      const io::StoredTensor* stored = resolve(source.name);
      if (!stored) continue;
      Piece piece{.stored = *stored, .interleaved_heads = source.interleaved_heads};
      const bool reshaped = rule->shape.rank() > 0;
      const Shape& given = reshaped ? shape : stored->shape;
      if (reshaped && !(stored->shape == rule->shape)) {
        fail(ErrorCode::format, what,
             fmt::format("tensor {} is {}; want {}", source.name, stored->shape.str(), rule->shape.str()));
      }
      if (reshaped) piece.stored.shape = shape;
      piece.width = width_of(given);
      piece.rows = height_of(given) / source.parts;
      piece.begin = piece.rows * source.part;
      rows += piece.rows;
      const std::int64_t width = rule->transposed ? shape[0] : width_of(shape);
      const bool fits = given.rank() == shape.rank() && piece.width == width &&
                        height_of(given) % source.parts == 0 &&
                        (source.rows == 0 || source.rows == piece.rows);
      if (!fits) {
        fail(ErrorCode::format, what,
             fmt::format("tensor {} is {}; want {} rows of {} for {} {}", source.name, stored->shape.str(),
                         source.rows > 0 ? source.rows : height_of(shape), width, parameter.name,
                         shape.str()));
      }
      pieces.push_back(std::move(piece));
    }
    if (pieces.size() != rule->sources.size()) continue;
    if (rows != (rule->transposed ? shape[1] : height_of(shape))) {
      fail(ErrorCode::format, what,
           fmt::format("{} has {} rows for {} {}", rule->sources[0].name, rows, parameter.name, shape.str()));
    }
    parameter.tensor.set_elements(assembled(shape, std::move(pieces), rule->transposed));
  }
  std::set<std::string> used;
  for (const auto& [table_name, name] : origin.names) used.insert(name);
  std::vector<std::regex> ignored;
  for (const std::string& pattern : table.ignored) ignored.emplace_back(pattern);
  for (const io::StoredTensor& stored : files.tensors) {
    const bool known = used.contains(stored.name) ||
                       std::any_of(ignored.begin(), ignored.end(),
                                   [&](const std::regex& r) { return std::regex_match(stored.name, r); });
    if (!known) surplus.push_back(stored.name);
    if (!known || used.contains(stored.name)) continue;
    if (std::optional<Kept> kept = kept_of(stored, origin, files)) origin.kept.push_back(std::move(*kept));
  }
  if (!missing.empty() || !surplus.empty()) {
    fail(ErrorCode::format, what,
         fmt::format(
             "{}{}{}", missing.empty() ? "" : "lacks tensors " + listed(missing),
             !missing.empty() && !surplus.empty() ? "; " : "",
             surplus.empty() ? "" : "has tensors that this model has no place for: " + listed(surplus)));
  }
  return origin;
}

std::vector<io::OutputTensor> unbind_weights(const nn::Module& module, const WeightTable& table,
                                             const Origin& origin) {
  const NoGrad no_grad;
  std::vector<std::string> order;
  std::map<std::string, std::map<std::int64_t, Tensor>> parts;  // of the table's names
  std::map<std::string, Shape> shapes;
  for (const nn::NamedParameter& parameter : module.parameters()) {
    const Rule* rule = rule_for(table, parameter.name);
    if (!rule) fail(ErrorCode::internal, "export", fmt::format("no rule says where {} goes", parameter.name));
    const Tensor ours = parameter.tensor.detach();
    std::int64_t row = 0;
    for (const Source& source : rule->sources) {
      const std::int64_t rows = source.rows > 0 ? source.rows : ours.size(0);
      Tensor piece = rows == ours.size(0) ? ours : slice(ours, 0, row, row + rows);
      row += rows;
      if (rule->transposed) piece = contiguous(transpose(piece, 0, 1));
      if (rule->shape.rank() > 0) piece = reshape(contiguous(piece), rule->shape);
      if (!parts.contains(source.name)) order.push_back(source.name);
      parts[source.name][source.part] = piece;
    }
  }
  std::vector<io::OutputTensor> out;
  for (const std::string& name : order) {
    std::vector<Tensor> pieces;
    for (const auto& [part, tensor] : parts[name]) pieces.push_back(tensor);
    const auto renamed = origin.names.find(name);
    io::OutputTensor& tensor = out.emplace_back();
    tensor.name = renamed == origin.names.end() ? name : renamed->second;
    tensor.tensor = pieces.size() == 1 ? pieces[0] : concat(pieces, 0);
    const auto dtype = origin.dtypes.find(tensor.name);
    if (dtype != origin.dtypes.end()) tensor.dtype = dtype->second;
  }
  for (const Kept& kept : origin.kept) {
    const std::string name = twin_of(kept);
    const auto twin =
        std::ranges::find_if(out, [&](const io::OutputTensor& tensor) { return tensor.name == name; });
    if (twin != out.end()) {
      out.push_back({kept.stored.name, twin->tensor, twin->dtype});
    } else {
      const auto [tensor, dtype] = as_it_came(kept.stored);
      out.push_back({kept.stored.name, tensor, dtype});
    }
  }
  return out;
}

}  // namespace headway::inline v1::hub
