#include <cstring>
#include <map>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/quote.h>
#include <headway/io/safetensors.h>

namespace headway::inline v1::io {
namespace {

// The first few of a list, and how many more there are: a wrong file may differ in a thousand names.
class Complaints {
 public:
  void add(std::string text) {
    if (++count_ <= 8) text_ += (count_ == 1 ? "" : "; ") + std::move(text);
  }
  bool empty() const { return count_ == 0; }
  std::string str() const { return count_ <= 8 ? text_ : fmt::format("{}; and {} more", text_, count_ - 8); }

 private:
  int count_ = 0;
  std::string text_;
};

}  // namespace

void assign(const std::vector<NamedTensor>& target, const std::vector<NamedTensor>& source,
            std::string_view what) {
  std::map<std::string_view, const Tensor*> from;
  for (const NamedTensor& entry : source) from[entry.name] = &entry.tensor;
  Complaints complaints;
  std::map<std::string_view, const Tensor*> extra = from;
  for (const NamedTensor& entry : target) {
    extra.erase(entry.name);
    const auto found = from.find(entry.name);
    if (found == from.end()) {
      complaints.add(fmt::format("{} is missing", quoted(entry.name)));
    } else if (found->second->shape() != entry.tensor.shape() ||
               found->second->dtype() != entry.tensor.dtype()) {
      complaints.add(fmt::format("{} is {}, want {}", quoted(entry.name), found->second->describe(),
                                 entry.tensor.describe()));
    } else if (!found->second->is_contiguous() || !entry.tensor.is_contiguous()) {
      complaints.add(fmt::format("{} is not contiguous", quoted(entry.name)));
    }
  }
  for (const auto& [name, tensor] : extra) complaints.add(fmt::format("{} is not wanted", quoted(name)));
  if (!complaints.empty()) fail(ErrorCode::format, "assign", fmt::format("{}: {}", what, complaints.str()));
  for (const NamedTensor& entry : target) {
    if (entry.tensor.numel() == 0) continue;
    std::memcpy(entry.tensor.raw(), from.at(entry.name)->raw(),
                static_cast<std::size_t>(entry.tensor.numel()) * size_of(entry.tensor.dtype()));
    entry.tensor.bump_version();
  }
}

}  // namespace headway::inline v1::io
