// HEADWAY_TEST_ISA=avx2 or sse4 takes newer instruction sets away from our kernels before the first test; the
// ctest entries `ops_on_…` do so, and take them from oneDNN, too. HEADWAY_TEST_PAIRS=always has bfloat16
// multiplied in pairs on AVX2, too; never, nowhere.
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include <hwy/targets.h>

#include <headway/kernels/attention.h>

namespace headway {
namespace {

const bool limited = [] {
  const char* wanted = std::getenv("HEADWAY_TEST_ISA");
  if (!wanted) return false;
  // A better target has a lower bit. Not by DisableTargets: in Highway 1.0, SupportedTargets() dispatches to
  // the best target again, disabled or not, whoever calls it.
  const std::int64_t best = std::string_view(wanted) == "avx2" ? HWY_AVX2 : HWY_SSE4;
  hwy::SetSupportedTargetsForTest(hwy::SupportedTargets() & ~(best - 1));
  std::printf("best target of our kernels: %s\n",
              hwy::TargetName(hwy::SupportedTargets() & -hwy::SupportedTargets()));
  return true;
}();

const bool pairs = [] {
  const char* wanted = std::getenv("HEADWAY_TEST_PAIRS");
  if (!wanted) return false;
  const bool always = std::string_view(wanted) == "always";
  kernels::set_pair_products(always ? kernels::PairProducts::always : kernels::PairProducts::never);
  std::printf("bfloat16 in pairs: %s\n", wanted);
  return true;
}();

}  // namespace
}  // namespace headway
