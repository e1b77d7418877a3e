#pragma once
#include <map>
#include <set>
#include <string>

#include <support/gradcheck.h>

/// Which checks exist for which op. A check is registered by the macro that defines its test, so that what is
/// registered also runs; tests/ops/registry.cpp compares the registry with the ops declared in
/// include/headway/ops.
namespace headway::testing {

inline std::map<std::string, std::set<std::string>>& op_registry() {
  static std::map<std::string, std::set<std::string>> registry;
  return registry;
}

struct RegisterCheck {
  RegisterCheck(const char* op, const char* check) { op_registry()[op].insert(check); }
};

}  // namespace headway::testing

/// HEADWAY_OP_CHECK(softmax, reference) { …body of a test… }. Checks: reference, gradcheck, composed, meta,
/// threads, non_contiguous.
#define HEADWAY_OP_CHECK(op, check)                                                      \
  static const ::headway::testing::RegisterCheck registered_##op##_##check(#op, #check); \
  TEST(Op_##op, passes_the_##check##_check)

/// All checks but `composed`, over `small` (a function giving many OpCases) and `large` (giving one that is
/// big enough to be shared by threads).
#define HEADWAY_OP_SUITE(op, small, large)                                          \
  HEADWAY_OP_CHECK(op, reference) {                                                 \
    for (const auto& test_case : small()) {                                         \
      ::headway::testing::check_reference(test_case, ::headway::DType::float32);    \
      ::headway::testing::check_reference(test_case, ::headway::DType::bfloat16);   \
    }                                                                               \
  }                                                                                 \
  HEADWAY_OP_CHECK(op, gradcheck) {                                                 \
    for (const auto& test_case : small()) ::headway::testing::gradcheck(test_case); \
  }                                                                                 \
  HEADWAY_OP_SUITE_WITHOUT_GRADIENT(op, small, large)

#define HEADWAY_OP_SUITE_WITHOUT_GRADIENT(op, small, large)                            \
  HEADWAY_OP_CHECK(op, meta) {                                                         \
    for (const auto& test_case : small()) {                                            \
      ::headway::testing::check_meta(test_case, ::headway::DType::float32);            \
      ::headway::testing::check_meta(test_case, ::headway::DType::bfloat16);           \
    }                                                                                  \
  }                                                                                    \
  HEADWAY_OP_CHECK(op, threads) {                                                      \
    ::headway::testing::check_threads(large(), ::headway::DType::float32);             \
    ::headway::testing::check_threads(large(), ::headway::DType::bfloat16);            \
  }                                                                                    \
  HEADWAY_OP_CHECK(op, non_contiguous) {                                               \
    for (const auto& test_case : small()) {                                            \
      ::headway::testing::check_non_contiguous(test_case, ::headway::DType::float32);  \
      ::headway::testing::check_non_contiguous(test_case, ::headway::DType::bfloat16); \
      ::headway::testing::check_non_contiguous(test_case, ::headway::DType::float64);  \
    }                                                                                  \
  }

/// `composition` gives pairs of a fused OpCase and the function that composes it.
#define HEADWAY_OP_COMPOSED(op, composition)                                               \
  HEADWAY_OP_CHECK(op, composed) {                                                         \
    for (const auto& [test_case, composed] : composition()) {                              \
      ::headway::testing::check_composed(test_case, composed, ::headway::DType::float64);  \
      ::headway::testing::check_composed(test_case, composed, ::headway::DType::float32);  \
      ::headway::testing::check_composed(test_case, composed, ::headway::DType::bfloat16); \
    }                                                                                      \
  }
