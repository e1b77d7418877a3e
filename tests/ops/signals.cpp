// Programs have timers, profilers and Ctrl-C. oneDNN 2.6's AVX2 products move the stack pointer to the heap,
// where a signal's frame must not fall.
#include <headway/kernels/gemm.h>

#include <gmock/gmock.h>
#include <sys/time.h>

#include <atomic>
#include <csignal>
#include <memory>
#include <vector>

#include <headway/core/generator.h>
#include <headway/core/parallel.h>

namespace headway {
namespace {

std::atomic<int> ticks{0};  // signals may come to any thread
void on_tick(int) { ticks.fetch_add(1, std::memory_order_relaxed); }

TEST(Linear, signals_in_the_middle_of_products_leave_the_heap_alone) {
  const int all = threads();
  set_threads(1);  // signals come to the thread that computes
  const auto before = std::signal(SIGALRM, on_tick);
  const itimerval often{{0, 100}, {0, 100}}, never{};
  setitimer(ITIMER_REAL, &often, nullptr);
  Generator generator(1);
  for (int round = 0; round < 60; ++round) {
    for (const auto& [outputs, inputs] : {std::pair{96, 96}, {384, 96}, {96, 384}, {2000, 96}}) {
      // A heap of ever new shapes: pieces in use and free ones of all sizes beside the product's own memory.
      std::vector<std::unique_ptr<char[]>> pieces;
      for (int i = 0; i < 20; ++i) pieces.push_back(std::make_unique<char[]>(generator.below(9000) + 1));
      for (int i = 0; i < 20; i += 2) pieces[static_cast<std::size_t>(i)].reset();
      const auto tokens = static_cast<std::int64_t>(560 + generator.below(100));
      const std::vector<float> dy(static_cast<std::size_t>(tokens * outputs), 1.f),
          x(static_cast<std::size_t>(tokens * inputs), 1.f);
      std::vector<float> dw(static_cast<std::size_t>(outputs * inputs));
      const kernels::WeightGradientArgs args{.tokens = tokens,
                                             .outputs = outputs,
                                             .inputs = inputs,
                                             .dy = dy.data(),
                                             .dy_row = outputs,
                                             .x = x.data(),
                                             .x_row = inputs,
                                             .dw = dw.data()};
      std::vector<char> workspace(kernels::weight_gradient_workspace(args));
      kernels::weight_gradient(args, workspace.data());
      for (const float value : dw) ASSERT_EQ(value, static_cast<float>(tokens));
    }
  }
  setitimer(ITIMER_REAL, &never, nullptr);
  std::signal(SIGALRM, before);
  set_threads(all);
  EXPECT_GT(ticks.load(), 50);
}

}  // namespace
}  // namespace headway
