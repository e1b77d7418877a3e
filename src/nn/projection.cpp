#include "nn/projection.h"

#include <cstring>
#include <map>

#include <fmt/format.h>

#include <headway/core/factory.h>

namespace headway::inline v1::nn {
namespace {

constexpr const char* kOperation = "MultiHeadAttention";

std::string divisors_near(std::int64_t dim, std::int64_t heads) {
  std::int64_t below = heads;
  std::int64_t above = heads;
  while (below > 1 && dim % below != 0) --below;
  while (above < dim && dim % above != 0) ++above;
  return below == above ? fmt::format("{}", below) : fmt::format("{} or {}", below, above);
}

void check_slices(const Role& role) {
  if (role.width % role.heads == 0) return;
  fail(ErrorCode::shape, kOperation,
       fmt::format(
           "sliced input: the {} input has {} columns for {} heads; want a multiple ({} heads would do)",
           role.name, role.width, role.heads, divisors_near(role.width, role.heads)));
}

}  // namespace

std::array<Role, 3> roles_of(const MultiHeadAttentionOptions& o) {
  const auto share = [&](std::int64_t width, std::int64_t heads) {
    return o.head_input == HeadInput::slice ? width / heads : width;
  };
  return {Role{"query", o.heads, o.head_dim, share(o.model_dim, o.heads), o.model_dim},
          Role{"key", o.kv_heads, o.head_dim, share(o.key_dim, o.kv_heads), o.key_dim},
          Role{"value", o.kv_heads, o.value_head_dim, share(o.value_dim, o.kv_heads), o.value_dim}};
}

bool shares_matrix(const MultiHeadAttentionOptions& o) {
  return o.key_dim == o.model_dim && o.value_dim == o.model_dim;
}

MultiHeadAttentionOptions complete(MultiHeadAttentionOptions o) {
  if (o.model_dim < 1 || o.heads < 1) {
    fail(ErrorCode::shape, kOperation,
         fmt::format("model_dim is {}, heads {}; want both at least 1", o.model_dim, o.heads));
  }
  if (o.head_dim == 0) {
    if (o.model_dim % o.heads != 0) {
      fail(ErrorCode::shape, kOperation,
           fmt::format("model_dim {} is not divisible by {} heads; want {} heads, or head_dim given",
                       o.model_dim, o.heads, divisors_near(o.model_dim, o.heads)));
    }
    o.head_dim = o.model_dim / o.heads;
  }
  if (o.kv_heads == 0) o.kv_heads = o.heads;
  if (o.value_head_dim == 0) o.value_head_dim = o.head_dim;
  if (o.key_dim == 0) o.key_dim = o.model_dim;
  if (o.value_dim == 0) o.value_dim = o.model_dim;
  if (o.kv_heads < 1 || o.heads % o.kv_heads != 0) {
    fail(ErrorCode::shape, kOperation,
         fmt::format("kv_heads is {}, heads {}; want a divisor ({})", o.kv_heads, o.heads,
                     divisors_near(o.heads, o.kv_heads)));
  }
  if (o.head_dim < 1 || o.value_head_dim < 1 || o.key_dim < 1 || o.value_dim < 1) {
    fail(ErrorCode::shape, kOperation,
         fmt::format("head_dim is {}, value_head_dim {}, key_dim {}, value_dim {}; want all at least 1",
                     o.head_dim, o.value_head_dim, o.key_dim, o.value_dim));
  }
  if (o.position.rotates()) o.position.rope_options().rotated(kOperation, o.head_dim);
  if (!(o.dropout >= 0 && o.dropout < 1)) {
    fail(ErrorCode::value, kOperation, fmt::format("dropout is {}; want 0 <= p < 1", o.dropout));
  }
  if (o.head_input == HeadInput::slice) {
    if (o.projection == Projection::combined) {
      fail(ErrorCode::unsupported, kOperation,
           "sliced input has no combined matrix (each head reads other columns); want Projection::split");
    }
    for (const Role& role : roles_of(o)) check_slices(role);
  }
  return o;
}

std::vector<NamedParameter> convert_projection(const std::vector<NamedParameter>& tensors,
                                               const MultiHeadAttentionOptions& options, Projection to) {
  const MultiHeadAttentionOptions o = complete(options);
  if (to == Projection::combined && o.head_input == HeadInput::slice) {
    fail(ErrorCode::unsupported, kOperation, "sliced input has no combined matrix; want Projection::split");
  }
  std::map<std::string, Tensor> by_name;
  for (const auto& [name, tensor] : tensors) by_name.emplace(name, tensor);
  const auto roles = roles_of(o);

  // Pieces of one kind ("weight" or "bias"), one for each role and head, wherever they come from.
  std::vector<NamedParameter> out;
  for (const std::string kind : {"weight", "bias"}) {
    std::vector<std::vector<Tensor>> pieces(3);
    std::int64_t merged_row = 0;
    for (std::size_t r = 0; r < 3; ++r) {
      const Role& role = roles[r];
      for (std::int64_t h = 0; h < role.heads; ++h) {
        if (auto own = by_name.find(fmt::format("{}.{}.{}", role.name, h, kind)); own != by_name.end()) {
          pieces[r].push_back(own->second);
          continue;
        }
        auto whole = by_name.find("qkv." + kind);
        std::int64_t row = merged_row + h * role.dim;
        if (whole == by_name.end()) {
          whole = by_name.find(fmt::format("{}.{}", role.name, kind));
          row = h * role.dim;
        }
        if (whole == by_name.end()) break;
        const Tensor& t = whole->second;
        pieces[r].push_back(
            t.rank() == 2 ? t.strided({role.dim, t.size(1)}, t.strides(), t.offset() + row * t.stride(0))
                          : t.strided({role.dim}, t.strides(), t.offset() + row));
      }
      merged_row += role.heads * role.dim;
    }
    if (pieces[0].empty()) continue;
    const auto joined = [&](std::size_t first, std::size_t last) {
      std::int64_t rows = 0;
      for (std::size_t r = first; r <= last; ++r) rows += roles[r].heads * roles[r].dim;
      const Tensor& any = pieces[first][0];
      const Tensor whole =
          Tensor::empty(any.rank() == 2 ? Shape{rows, any.size(1)} : Shape{rows}, any.dtype(), any.device());
      if (whole.device() == Device::meta) return whole;
      auto* at = static_cast<char*>(whole.raw());
      for (std::size_t r = first; r <= last; ++r) {
        for (const Tensor& piece : pieces[r]) {
          const auto bytes = static_cast<std::size_t>(piece.numel()) * size_of(piece.dtype());
          std::memcpy(at, piece.raw(), bytes);
          at += bytes;
        }
      }
      return whole;
    };
    if (to == Projection::split) {
      for (std::size_t r = 0; r < 3; ++r) {
        for (std::size_t h = 0; h < pieces[r].size(); ++h) {
          const Tensor& piece = pieces[r][h];
          const Tensor own = Tensor::empty(piece.shape(), piece.dtype(), piece.device());
          if (own.device() != Device::meta)
            std::memcpy(own.raw(), piece.raw(),
                        static_cast<std::size_t>(piece.numel()) * size_of(piece.dtype()));
          out.push_back({fmt::format("{}.{}.{}", roles[r].name, h, kind), own});
        }
      }
    } else if (shares_matrix(o)) {
      out.push_back({"qkv." + kind, joined(0, 2)});
    } else {
      for (std::size_t r = 0; r < 3; ++r)
        out.push_back({fmt::format("{}.{}", roles[r].name, kind), joined(r, r)});
    }
  }
  for (const NamedParameter& parameter : tensors) {
    const bool projection = parameter.name.starts_with("qkv.") || parameter.name.starts_with("query.") ||
                            parameter.name.starts_with("key.") || parameter.name.starts_with("value.");
    if (!projection) out.push_back(parameter);
  }
  return out;
}

}  // namespace headway::inline v1::nn
