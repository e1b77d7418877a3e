"""The stubs say what the package does: a type checker reads them, and programs that use them rightly and wrongly."""

import subprocess
import sys
from pathlib import Path

import headway as hw

CONFIG = Path(__file__).parents[2] / "pyproject.toml"
RIGHT = """
import numpy as np
import headway as hw

x = np.zeros((1, 2, 3, 4), np.float32)
y: "np.ndarray[tuple[int, int, int, int], np.dtype[np.float32]]" = hw.attention(x, x, x, mask=hw.Mask.causal())
tape: hw.Tensor = hw.attention(hw.tensor(x), x, x)
seen: hw.Attended = hw.attention(x, x, x, capture=hw.Capture(log_sum_exp=True))
mask: hw.Mask = ~hw.Mask.window(1, 2) | hw.Mask.where(lambda at: at.query > at.key)
layer = hw.nn.MultiHeadAttention(4, 2, generator=hw.Generator(1))
parameters: "dict[str, hw.Tensor]" = layer.parameters()
"""
WRONG = """
import headway as hw

hw.Mask.window("two", 3)
hw.attention(1, 2, 3, masks=None)
hw.nn.Linear(3, 4)
hw.Mask.causal() & 3
"""


def check(*arguments):
    package = str(Path(hw.__file__).parents[1])
    command = [sys.executable, "-m", "mypy", f"--config-file={CONFIG}", "--no-incremental", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={"MYPYPATH": package, "PATH": ""})


def test_the_package_passes_a_strict_type_checker():
    found = check("--cache-dir=/dev/null", "-p", "headway")
    assert found.returncode == 0, found.stdout + found.stderr


def test_programs_that_use_it_rightly_pass_and_others_do_not(tmp_path):
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    found = check("--cache-dir=/dev/null", str(tmp_path / "right.py"))
    assert found.returncode == 0, found.stdout + found.stderr
    complaints = check("--cache-dir=/dev/null", str(tmp_path / "wrong.py")).stdout
    lines = {line.split(":")[1] for line in complaints.splitlines() if ": error:" in line}
    assert lines == {"4", "5", "6", "7"}, complaints


def test_every_public_name_is_documented():
    for module in (hw, hw.nn, hw.ops, hw.models, hw.train, hw.text, hw.io, hw.inspect):
        assert module.__doc__
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value):
                assert value.__doc__, f"{module.__name__}.{name}"
