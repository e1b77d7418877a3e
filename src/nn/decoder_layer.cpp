#include <headway/nn/decoder_layer.h>

namespace headway::inline v1::nn {
namespace {

BlockInput block_input(const DecoderInput& input) {
  return {.offsets = input.offsets, .memory = input.memory, .memory_offsets = input.memory_offsets};
}

}  // namespace

DecoderLayer::DecoderLayer(const LayerOptions& options, Generator& generator)
    : TransformerBlock(block_options(options, true), generator), options_(options) {}

Stream DecoderLayer::operator()(const Stream& in, const DecoderInput& input) {
  return TransformerBlock::operator()(in, block_input(input));
}

Tensor DecoderLayer::operator()(const Tensor& x, const DecoderInput& input) {
  return TransformerBlock::operator()(x, block_input(input));
}

}  // namespace headway::inline v1::nn
