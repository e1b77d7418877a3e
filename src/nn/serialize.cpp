#include <headway/nn/serialize.h>

#include <map>

#include <headway/autograd/tape.h>
#include <headway/io/safetensors.h>
#include <headway/ops/views.h>

namespace headway::inline v1::io {
namespace {

std::vector<NamedTensor> tensors_of(const nn::Module& module) {
  std::vector<NamedTensor> list;
  for (const nn::NamedParameter& parameter : module.parameters())
    list.push_back({parameter.name, parameter.tensor});
  return list;
}

}  // namespace

void save(const nn::Module& module, const std::filesystem::path& path) {
  save_safetensors(path, tensors_of(module));
}

void load(nn::Module& module, const std::filesystem::path& path) {
  const std::vector<NamedTensor> target = tensors_of(module);
  std::map<std::string_view, DType> types;
  for (const NamedTensor& entry : target) types[entry.name] = entry.tensor.dtype();
  SafeTensors file = load_safetensors(path);
  const NoGrad no_grad;
  for (NamedTensor& entry : file.tensors) {
    const auto wanted = types.find(entry.name);
    if (wanted == types.end() || !is_floating(entry.tensor.dtype()) || !is_floating(wanted->second)) continue;
    entry.tensor = cast(entry.tensor, wanted->second);
  }
  assign(target, file.tensors, path.string());
}

}  // namespace headway::inline v1::io
