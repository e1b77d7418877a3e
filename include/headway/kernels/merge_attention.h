#pragma once
#include <cstdint>
#include <span>

#include <headway/core/export.h>
#include <headway/kernels/precision.h>

/// Attention over disjoint sets of keys, joined to that over all of them (the running softmax of Milakov &
/// Gimelshein 2018, taken part by part as in Dao et al. 2022). For every query and head, over the parts in
/// order,
///
///   L = log Σ_i exp L_i      w_i = exp(L_i - L)      O = Σ_i w_i·O_i
///   c_i = Σ_d dO∘O_i         dL_i = w_i·(c_i - Σ_j w_j·c_j + dL)         dO_i = w_i·dO
///
/// (dw_i = c_i, and w is the softmax of the L_i; dL/dL_i = w_i besides). A part whose L_i is -inf has seen
/// nothing: its w_i and gradients are 0, and its O_i is not read. Where that is so of all, O = 0 and L =
/// -inf.
namespace headway::inline v1::kernels {

template <typename T>
struct AttentionPart {
  const T* o = nullptr;               ///< [B, T, H, Dv]
  const compute_t<T>* lse = nullptr;  ///< [B, H, T]
};

template <typename T>
struct MergeForward {
  std::int64_t batch = 0, queries = 0, heads = 0, value_dim = 0;  // B, T, H, Dv
  std::span<const AttentionPart<T>> parts;
  T* o = nullptr;
  compute_t<T>* lse = nullptr;
};
template <typename T>
void merge_attention(const MergeForward<T>& args);

template <typename T>
struct AttentionPartGrad {
  T* d_o = nullptr;               ///< either may be null: not wanted
  compute_t<T>* d_lse = nullptr;  ///< laid out as in AttentionPart
};

template <typename T>
struct MergeBackward {
  MergeForward<T> forward;              ///< sizes and parts; its outputs are not read
  const T* d_o = nullptr;               ///< either may be null: 0
  const compute_t<T>* d_lse = nullptr;  ///< as the outputs of forward
  std::span<const AttentionPartGrad<T>> grads;
};
template <typename T>
void merge_attention_backward(const MergeBackward<T>& args);

}  // namespace headway::inline v1::kernels
