// The library's side of io_peer.py: reads files, writes what it understood as raw float32 or as another file.
//   io_peer dequantize IN.gguf OUT      all tensors, in order, as float32
//   io_peer rewrite IN.gguf OUT.gguf TYPE   the same tensors as f32, f16, bf16 or q8_0 (rows that fit)
//   io_peer shards IN_FOLDER OUT_FOLDER BYTES   the same weights in the same types, in shards
//   io_peer resize IN.png HEIGHT WIDTH FILTER OUT
//   io_peer process FOLDER IN.png OUT
#include <algorithm>
#include <array>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <headway/io/atomic_file.h>
#include <headway/io/gguf.h>
#include <headway/io/image_processor.h>
#include <headway/io/model_files.h>

namespace io = headway::io;

namespace {

void write_floats(const std::string& path, const std::vector<headway::Tensor>& tensors) {
  io::AtomicFile file(path);
  for (const headway::Tensor& t : tensors) file.write(t.raw(), static_cast<std::size_t>(t.numel()) * 4);
  file.commit();
}

void dequantize(const std::string& in, const std::string& out) {
  std::vector<headway::Tensor> tensors;
  const io::GgufFile gguf = io::open_gguf(in);
  for (const io::StoredTensor& stored : gguf.tensors.tensors) tensors.push_back(io::as_float32(stored));
  write_floats(out, tensors);
}

void rewrite(const std::string& in, const std::string& out, const std::string& type) {
  constexpr std::array<const char*, 4> kTypes{"f32", "f16", "bf16", "q8_0"};
  const auto found = std::find(kTypes.begin(), kTypes.end(), type);
  if (found == kTypes.end()) throw std::runtime_error("type is " + type);
  const auto encoding = static_cast<io::GgufEncoding>(found - kTypes.begin());
  const io::GgufFile file = io::open_gguf(in);
  std::vector<io::GgufTensor> tensors;
  for (const io::StoredTensor& stored : file.tensors.tensors) {
    // ggml keeps vectors (norms) in float32.
    const bool plain =
        stored.shape.rank() < 2 || (encoding == io::GgufEncoding::q8_0 && stored.shape.back() % 32);
    tensors.push_back({stored.name, io::as_float32(stored), plain ? io::GgufEncoding::f32 : encoding});
  }
  io::save_gguf(out, file.metadata, tensors);
}

void shards(const std::string& in, const std::string& out, std::uint64_t bytes) {
  std::vector<io::OutputTensor> tensors;
  for (const io::StoredTensor& stored : io::open_model_files(in).tensors) {
    const auto dtype = stored.type == io::StoredType::bf16  ? headway::DType::bfloat16
                       : stored.type == io::StoredType::f16 ? headway::DType::float16
                                                            : headway::DType::float32;
    tensors.push_back({stored.name, io::as_float32(stored), dtype});
  }
  io::make_folder(out);
  io::save_model_files(out, tensors, {.shard_bytes = bytes});
}

void run(const std::vector<std::string>& a) {
  const std::string& command = a.at(0);
  if (command == "dequantize") {
    dequantize(a.at(1), a.at(2));
  } else if (command == "rewrite") {
    rewrite(a.at(1), a.at(2), a.at(3));
  } else if (command == "shards") {
    shards(a.at(1), a.at(2), std::stoull(a.at(3)));
  } else if (command == "resize") {
    const auto filter = static_cast<io::Resample>(std::stoi(a.at(4)));
    const io::Image image =
        io::resize(io::read_image(a.at(1)), std::stoll(a.at(2)), std::stoll(a.at(3)), filter);
    io::write_file(a.at(5), {reinterpret_cast<const char*>(image.pixels.data()), image.pixels.size()});
  } else if (command == "process") {
    write_floats(a.at(3), {io::ImageProcessor::load(a.at(1))(io::read_image(a.at(2)))});
  } else {
    throw std::runtime_error("command is " + command);
  }
}

}  // namespace

int main(int count, char** arguments) {
  try {
    run(std::vector<std::string>(arguments + 1, arguments + count));
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "io_peer: {}\n", error.what());
    return 1;
  }
}
