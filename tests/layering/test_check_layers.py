#!/usr/bin/env python3
"""check_layers.py must see each kind of violation: small trees, one slip each."""
import tempfile
import unittest
from pathlib import Path

import check_layers

CMAKE = """headway_layer(core LIBRARIES fmt::fmt)
headway_layer(kernels LAYERS core)
headway_layer(ops LAYERS kernels core)
headway_layer(text LAYERS core)
"""


class Layers(unittest.TestCase):
    def problems(self, files, cmake=CMAKE):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder).resolve()
            tree = {"include/headway/core/tensor.h": "#include <vector>\n",
                    "include/headway/ops/linear.h": "#include <headway/core/tensor.h>\n",
                    "src/CMakeLists.txt": cmake} | files
            for name, text in tree.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
            return check_layers.check(root)

    def fails_with(self, expected, files, cmake=CMAKE):
        found = self.problems(files, cmake)
        self.assertEqual(len(found), 1, found)
        self.assertIn(expected, found[0])

    def test_sound_tree_passes(self):
        sound = {"src/ops/linear.cpp": "#include <headway/ops/linear.h>\n#include <fmt/core.h>\n"}
        self.assertEqual(self.problems(sound), [])

    def test_lower_layer_includes_a_higher_one(self):
        self.fails_with("kernels may not look at ops", {"src/kernels/gemm.cpp": "#include <headway/ops/linear.h>\n"})

    def test_text_needs_core_alone(self):
        self.fails_with("text may not look at kernels", {"include/headway/kernels/gemm.h": "",
                                                         "src/text/bleu.cpp": "#include <headway/kernels/gemm.h>\n"})

    def test_private_header_by_quoted_path(self):
        self.fails_with("core may not look at ops", {"src/ops/node.h": "",
                                                     "src/core/shape.cpp": '#include "ops/node.h"\n'})

    def test_public_header_includes_third_party(self):
        self.fails_with("third-party", {"include/headway/core/dtype.h": "#include <fmt/format.h>\n"})

    def test_public_header_includes_private_header(self):
        self.fails_with("private", {"src/core/pool.h": "", "include/headway/core/dtype.h": '#include "core/pool.h"\n'})

    def test_onednn_outside_the_kernels(self):
        self.fails_with("belongs to kernels", {"src/ops/linear.cpp": "#include <dnnl.hpp>\n"})

    def test_header_nobody_declared(self):
        self.fails_with("no layer is known", {"src/ops/linear.cpp": "#include <boost/any.hpp>\n"})

    def test_openmp_outside_core(self):
        self.fails_with("OpenMP", {"src/ops/linear.cpp": "#pragma omp parallel for\n#include <vector>\n"})

    def test_cmake_links_upward(self):
        self.fails_with("not below it", {}, CMAKE + "headway_layer(autograd LAYERS ops core)\n")

    def test_include_without_a_link(self):
        self.fails_with("does not link", {"include/headway/autograd/tape.h": "",
                                          "src/ops/linear.cpp": "#include <headway/autograd/tape.h>\n"})

    def test_oracle_uses_a_fused_kernel(self):
        self.fails_with("oracle", {"src/kernels/cpu/attention.h": "",
                                   "src/kernels/reference/attention.cpp": '#include "kernels/cpu/attention.h"\n'})

    def test_empty_tree_does_not_pass(self):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "src").mkdir()
            (Path(folder) / "src/CMakeLists.txt").write_text("")
            self.assertTrue(check_layers.check(Path(folder).resolve()))


if __name__ == "__main__":
    unittest.main()
