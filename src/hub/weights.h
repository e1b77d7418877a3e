#pragma once
#include <map>
#include <string>
#include <vector>

#include <headway/core/dtype.h>
#include <headway/core/shape.h>
#include <headway/io/model_files.h>
#include <headway/nn/module.h>

/// Which tensors of a file make which parameter, as data.
namespace headway::inline v1::hub {

/// A tensor of a file, or some of its rows.
struct Source {
  std::string name;
  std::int64_t rows = 0;               ///< of the parameter that come from it, of several sources; 0: all
  std::int64_t part = 0, parts = 1;    ///< it is the part-th of so many equal shares of the tensor's rows
  std::int64_t interleaved_heads = 0;  ///< rows of so many heads in the order of interleaved rotary pairs
                                       ///< (GGUF's Llama), which become half-split
};

/// Row `row` of heads in the order of interleaved rotary pairs (GGUF's Llama) -> its place where the halves
/// follow each other, as here.
std::int64_t half_split_place(std::int64_t row, std::int64_t head_dim);

/// A parameter of ours. {} in names stands for the number of the layer.
struct Rule {
  std::string ours;
  std::vector<Source> sources;  ///< their rows follow one another
  bool transposed = false;      ///< the file holds [inputs, outputs] (GPT-2's Conv1D)
  Shape shape = {};             ///< in the file, where it is another (a convolution, a leading 1)
};

/// Rules for layers 0 … layers - 1.
std::vector<Rule> each_layer(const std::vector<Rule>& rules, std::int64_t layers);

/// How a family names its weights.
struct WeightTable {
  std::vector<Rule> rules = {};
  std::string prefix = {};  ///< that names may have or lack: "bert."
  std::vector<std::string> ignored =
      {};  ///< regular expressions of tensors that hold nothing learned, or twice
};

/// A tensor of the file that the model does not use.
struct Kept {
  io::StoredTensor stored;
  /// Those of its type and shape that the model does use: one with the same bits is tied to it.
  std::vector<io::StoredTensor> alike;
};

/// What export needs to write a model as it came.
struct Origin {
  std::map<std::string, std::string> names;  ///< the table's name -> the file's
  std::map<std::string, DType> dtypes;       ///< of the file's names
  std::vector<Kept> kept;
};

/// Makes the module's parameters elements on demand of the files'. Error(format) naming what is missing,
/// surplus, or of another shape.
Origin bind_weights(const nn::Module& module, const WeightTable& table, const io::StoredTensors& files,
                    const std::string& what);

/// The module's parameters under the file's names and shapes, each in its type in `origin`, or float32; then
/// what the model does not use: what is tied to one of them as that is now, the rest as it came.
std::vector<io::OutputTensor> unbind_weights(const nn::Module& module, const WeightTable& table,
                                             const Origin& origin);

}  // namespace headway::inline v1::hub
