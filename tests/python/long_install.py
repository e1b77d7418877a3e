"""`pip install .` makes a wheel that works by itself."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import numpy as np
import headway as hw

q = np.ones((1, 3, 2, 4), np.float32)
assert np.array_equal(hw.attention(q, q, q), q)
print(hw.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, ROOT]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout[-4000:] + built.stderr[-4000:]
    return next(folder.glob("headway-*.whl"))


def test_a_wheel_holds_library_stubs_and_notices_and_no_more(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert sum(entry.file_size for entry in archive.infolist()) < 5_000_000
    assert {"headway/__init__.py", "headway/torch/__init__.py", "headway/_core.pyi", "headway/py.typed"} <= set(names)
    assert sum(name.endswith(".so") for name in names) == 1
    notices = {Path(name).name for name in names if "/licenses/" in name}
    assert notices == {"LICENSE", "THIRD_PARTY.md", "nanobind.txt", "robin_map.txt"}
    assert all(name.startswith("headway") for name in names)


def test_a_wheel_runs_where_nothing_else_is_installed(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "v"], check=True)
    python = tmp_path / "v" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run([python, "-c", PROGRAM], capture_output=True, text=True, env=clean, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert Path(run.stdout.strip()).is_relative_to(tmp_path)
