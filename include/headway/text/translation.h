#pragma once
#include <string>

namespace headway::inline v1::text {

/// One way to translate a sentence.
struct Translation {
  std::string text;
  double score = 0, log_probability = 0;  ///< as models::Hypothesis
};

}  // namespace headway::inline v1::text
