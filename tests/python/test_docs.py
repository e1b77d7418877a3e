"""The tutorial is a program: its blocks of Python run in order, and print what stands below them."""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "tiles" / "python-pattern.svg"
FENCED = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets(text):
    """(line, code, what it prints or None) of each block of Python."""
    found = []
    for match in FENCED.finditer(text):
        kind, body = match.groups()
        if kind == "python":
            found.append([text.count("\n", 0, match.start()) + 1, body, None])
        else:
            found[-1][2] = body
    return found


def run(text, name):
    names = {"__name__": "tutorial"}
    for line, code, wanted in snippets(text):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile("\n" * line + code, name, "exec"), names)
        if wanted is not None:
            assert said.getvalue() == wanted, f"{name}:{line}"


def test_the_tutorial_runs_and_prints_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run((ROOT / "docs" / "python.md").read_text(), "docs/python.md")
    assert (tmp_path / "python-pattern.svg").read_text() == PICTURE.read_text()


def test_the_readmes_block_runs():
    blocks = snippets((ROOT / "README.md").read_text())
    assert blocks
    run((ROOT / "README.md").read_text(), "README.md")


def test_the_page_of_jobs_runs_on_tiny_models(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tests" / "jobs")
    import page

    page.make_models(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert snippets((ROOT / "docs" / "jobs.md").read_text())
    run((ROOT / "docs" / "jobs.md").read_text(), "docs/jobs.md")


def test_a_block_that_fails_or_says_something_else_is_seen():
    with pytest.raises(ZeroDivisionError):
        run("```python\n1 / 0\n```\n", "broken")
    with pytest.raises(AssertionError, match="wrong:1"):
        run("```python\nprint(1)\n```\n```text\n2\n```\n", "wrong")
