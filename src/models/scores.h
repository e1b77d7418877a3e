#pragma once
#include <headway/nn/task_head.h>

namespace headway::inline v1::models {

/// The head itself; Error(unsupported) of a model without one.
inline const nn::TaskHead& require_head(const nn::TaskHead* head) {
  if (!head) {
    fail(ErrorCode::unsupported, "scores",
         "this model has no output head: it embeds; want one with a classification, token, span or "
         "masked-token head");
  }
  return *head;
}

}  // namespace headway::inline v1::models
