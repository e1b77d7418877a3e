#pragma once
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include <headway/core/error.h>

namespace headway::text {

/// The call fails with this code, and its message holds this text.
template <typename Call>
void expect_error(ErrorCode code, const std::string& text, Call&& call) {
  try {
    call();
    ADD_FAILURE() << "no error; want one with \"" << text << '"';
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), ::testing::HasSubstr(text));
  }
}

}  // namespace headway::text
