#pragma once
// Everything that the README's examples use: tensors, ops, modules, models, training, files.
#include <headway/autograd/tape.h>
#include <headway/core/allocator.h>
#include <headway/core/cost.h>
#include <headway/core/factory.h>
#include <headway/core/parallel.h>
#include <headway/models/decoding.h>
#include <headway/models/transformer.h>
#include <headway/nn/multi_head_attention.h>
#include <headway/nn/serialize.h>
#include <headway/ops/all.h>
#include <headway/train/optimizer.h>
#include <headway/train/translator.h>

namespace hw = headway;
