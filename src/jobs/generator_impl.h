#pragma once
#include <headway/jobs/generator.h>

#include "jobs/model_text.h"

namespace headway::inline v1::jobs {

struct Generator::Impl {
  TextModel loaded;

  models::LanguageModel& language_model() const { return *loaded.model->language_model(); }
  /// Goes on with prompts of tokens. With `kept` it is one prompt of a decoder.
  std::vector<std::string> write(const std::vector<std::vector<std::int32_t>>& prompts,
                                 const WriteOptions& options, const OnText& on_text,
                                 models::KeptText* kept = nullptr) const;
};

}  // namespace headway::inline v1::jobs
