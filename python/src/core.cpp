#include <headway/core/allocator.h>
#include <headway/core/dtype.h>
#include <headway/core/generator.h>
#include <headway/core/parallel.h>
#include <headway/core/version.h>

#include <cstdint>
#include <tuple>

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <fmt/format.h>

#include "bindings.h"

namespace headway::python {

namespace nb = nanobind;
using namespace nb::literals;

void bind_core(nb::module_& m) {
  m.attr("__version__") = version();

  nb::enum_<DType>(m, "DType", "The type of a tensor's elements.")
      .value("float32", DType::float32)
      .value("float64", DType::float64)
      .value("bfloat16", DType::bfloat16)
      .value("float16", DType::float16, "storage: no operation but cast takes it")
      .value("int32", DType::int32)
      .value("int64", DType::int64)
      .value("bool", DType::boolean);

  m.def("set_threads", &set_threads, "count"_a,
        "Threads that parallel work may use, in the whole process. Results are the same bits for any "
        "number.\n\n"
        "Raises:\n    Error: (value) unless 1 <= count <= 1024.");
  m.def(
      "get_threads", &threads,
      "Threads that parallel work may use: OMP_NUM_THREADS or the number of cores, unless set_threads() said "
      "otherwise.");

  nb::class_<Generator>(
      m, "Generator",
      "A counter-based source of random numbers (Philox, Salmon et al. 2011): a seed and the number "
      "of its next call. The same two give the same numbers, on any number of threads.")
      .def(nb::init<std::uint64_t, std::uint64_t>(), "seed"_a = 0, "next_call"_a = 0)
      .def_prop_ro("seed", &Generator::seed)
      .def_prop_ro("next_call", &Generator::next_call)
      .def(
          "copy", [](const Generator& self) { return self; }, "A generator that will draw the same numbers.")
      .def("__getstate__",
           [](const Generator& self) { return std::make_tuple(self.seed(), self.next_call()); })
      .def("__setstate__",
           [](Generator& self, const std::tuple<std::uint64_t, std::uint64_t>& state) {
             new (&self) Generator(std::get<0>(state), std::get<1>(state));
           })
      .def("__repr__", [](const Generator& self) {
        return fmt::format("Generator({}, {})", self.seed(), self.next_call());
      });

  nb::class_<MemoryStats>(m, "MemoryStats",
                          "Bytes asked of the library's allocator by live tensors and workspaces.")
      .def_ro("current", &MemoryStats::current, "live now")
      .def_ro("peak", &MemoryStats::peak, "most that was ever live at once since reset_peak()")
      .def_ro("cached", &MemoryStats::cached, "freed, and kept for the next allocation of that size");
  m.def("memory_stats", &memory_stats, "Counters of the library's allocator, in bytes.");
  m.def("reset_peak", &reset_peak, "Starts a new high-water measurement: peak becomes current.");
}

}  // namespace headway::python
