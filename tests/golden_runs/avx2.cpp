// Holds our kernels and oneDNN to AVX2 before the first test, so that every processor that has it computes
// alike. FMA comes with it, which glibc's exp, log, sin, cos and pow choose by it, too.
#include <cstdint>
#include <cstdlib>

#include <hwy/targets.h>

namespace headway {
namespace {

const bool limited = [] {
  // A better target has a lower bit. Not by DisableTargets: see ops/isa.cpp.
  hwy::SetSupportedTargetsForTest(hwy::SupportedTargets() & ~std::int64_t{HWY_AVX2 - 1});
  ::setenv("ONEDNN_MAX_CPU_ISA", "AVX2", /*overwrite=*/1);
  ::setenv("DNNL_MAX_CPU_ISA", "AVX2", /*overwrite=*/1);  // its name before oneDNN 2.7
  return true;
}();

}  // namespace
}  // namespace headway
