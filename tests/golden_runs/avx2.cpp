// Holds our kernels and oneDNN to AVX2 before the first test, so that every processor that has it computes
// alike. FMA comes with it, which glibc's exp, log, sin, cos and pow choose by it, too.
#include <cstdlib>

#include <hwy/targets.h>

namespace headway {
namespace {

const bool limited = [] {
  hwy::DisableTargets(HWY_AVX2 - 1);  // a better target has a lower bit
  ::setenv("ONEDNN_MAX_CPU_ISA", "AVX2", /*overwrite=*/1);
  ::setenv("DNNL_MAX_CPU_ISA", "AVX2", /*overwrite=*/1);  // its name before oneDNN 2.7
  return true;
}();

}  // namespace
}  // namespace headway
