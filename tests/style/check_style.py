#!/usr/bin/env python3
"""Checks what clang-format cannot: length of files, leftovers, headers, names.

usage: check_style.py SOURCE_ROOT
"""
import re
import sys
from pathlib import Path

FOLDERS = ("src", "include", "python", "tests", "bench", "examples", "cmake", "scripts", "docs", ".ci")
CODE = {".h", ".cpp", ".cu", ".cuh", ".inc"}
TEXT = CODE | {".py", ".cmake", ".txt", ".md", ".json", ".sh", ""}
MAX_LINES = 400
MAX_COLUMNS = 120  # clang-format breaks code at 110; a comment or a string that it cannot break may stand out a little
LEFTOVER = re.compile(r"\b(TODO|FIX" r"ME|XXX|HACK)\b")


def files(root):
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and path.suffix in TEXT and not {"__pycache__", "data", "golden"} & set(path.parts):
                yield path


def problems_of(path, name):
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        yield f"{name}: not UTF-8 at byte {error.start}"
        return
    lines = text.split("\n")
    if raw and not raw.endswith(b"\n"):
        yield f"{name}: no newline at the end"
    if path.suffix in CODE | {".py"} and len(lines) - 1 > MAX_LINES:
        yield f"{name}: {len(lines) - 1} lines; split it by topic below {MAX_LINES}"
    if path.suffix in CODE:
        if not re.fullmatch(r"[a-z0-9_]+(-inl)?(\.[a-z]+)+", path.name):
            yield f"{name}: file names are snake_case"
        # -inl.h: Highway compiles a file once per instruction set by including it again: those guard themselves.
        if path.suffix == ".h" and "#pragma once" not in text and "HWY_TARGET_TOGGLE" not in text:
            yield f"{name}: a header begins with #pragma once"
    for number, line in enumerate(lines, 1):
        if path.suffix in CODE | {".py"} and len(line) > MAX_COLUMNS:
            yield f"{name}:{number}: {len(line)} columns; want at most {MAX_COLUMNS}"
        if line.endswith((" ", "\t")) and path.suffix != ".md":
            yield f"{name}:{number}: white space at the end of the line"
        if "\t" in line and path.suffix in CODE | {".py", ".cmake"}:
            yield f"{name}:{number}: a tab"
        if path.suffix in CODE and LEFTOVER.search(line):
            yield f"{name}:{number}: {LEFTOVER.search(line).group()} belongs in an issue"


def check(root):
    found, seen = [], 0
    for path in files(root):
        seen += 1
        found += problems_of(path, path.relative_to(root))
    if seen == 0:
        found.append(f"{root}: no files; is this the source root?")
    return found


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = check(Path(sys.argv[1]).resolve())
    for problem in found:
        print(problem)
    sys.exit(1 if found else 0)
