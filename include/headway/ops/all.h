#pragma once
// Every op.
#include <headway/ops/attention.h>
#include <headway/ops/attention_onnx.h>
#include <headway/ops/embedding.h>
#include <headway/ops/explain.h>
#include <headway/ops/linear.h>
#include <headway/ops/loss.h>
#include <headway/ops/merge_attention.h>
#include <headway/ops/norm.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/rotary.h>
#include <headway/ops/segments.h>
#include <headway/ops/softmax.h>
#include <headway/ops/views.h>
