#!/usr/bin/env python3
"""Compiles and runs the C++ blocks of README.md and docs/*.md that are marked for it, so that no document rots.

The mark is an HTML comment on the line before the fence:

    <!-- run -->             the block runs and ends well
    <!-- run continued -->   the same, after the run block before it (one program, growing)
    <!-- run throws -->      the block throws headway::Error; the next fenced block is the message, word for word

A block without main() is a program's inside: every public header is included for it.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

MARK = re.compile(r"^<!--\s*run\b\s*(.*?)\s*-->$")
KINDS = ("", "continued", "throws")


@dataclass
class Snippet:
    where: str
    kind: str
    code: str
    message: str = ""


class Malformed(Exception):
    pass


def fenced(lines, start):
    """The block that opens at or after line `start`: (line of its fence, language, text, line after it)."""
    while start < len(lines) and not lines[start].startswith("```"):
        start += 1
    end = start + 1
    while end < len(lines) and not lines[end].startswith("```"):
        end += 1
    if end >= len(lines):
        raise Malformed("a fence that does not close")
    return start, lines[start][3:].strip(), "\n".join(lines[start + 1:end]) + "\n", end + 1


def extract(text, name):
    """The marked snippets of one document, continued ones with what came before them."""
    lines = text.split("\n")
    snippets = []
    inside_fence = False
    for number, line in enumerate(lines):
        if line.startswith("```"):
            inside_fence = not inside_fence
        mark = None if inside_fence else MARK.match(line.strip())
        if not mark:
            continue
        where, kind = f"{name}:{number + 1}", mark.group(1)
        if kind not in KINDS:
            raise Malformed(f"{where}: <!-- run {kind} --> is no known mark")
        begin, language, code, after = fenced(lines, number + 1)
        if begin != number + 1 or language != "cpp":
            raise Malformed(f"{where}: a ```cpp fence must follow the mark on the next line")
        if kind == "continued":
            before = [s for s in snippets if s.kind != "throws"]
            if not before:
                raise Malformed(f"{where}: nothing to continue")
            code = before[-1].code + code
        message = fenced(lines, after)[2].strip() if kind == "throws" else ""
        snippets.append(Snippet(where, kind, code, message))
    return snippets


def program(snippet, headers):
    if re.search(r"\bint\s+main\s*\(", snippet.code):
        return snippet.code
    own = [line for line in snippet.code.split("\n") if line.startswith("#include")]
    body = [line for line in snippet.code.split("\n") if not line.startswith("#include")]
    includes = own + [f"#include <{h}>" for h in headers] + ["#include <iostream>", "#include <vector>"]
    return "\n".join(includes) + f"""
int main() {{
  try {{
{chr(10).join(body)}
  }} catch (const headway::Error& error) {{
    std::cerr << error.what();
    return 3;
  }}
}}
"""


def judge(snippet, status, errors):
    """None, or what is wrong with how the snippet ended."""
    if snippet.kind != "throws":
        return None if status == 0 else f"exit status {status}\n{errors}"
    if status != 3:
        return f"exit status {status}; want a headway::Error\n{errors}"
    if errors.strip() != snippet.message:
        return f"the message is\n  {errors.strip()}\nthe document says\n  {snippet.message}"
    return None


def run(snippet, options, headers):
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder) / "snippet.cpp", Path(folder) / "snippet"
        source.write_text(program(snippet, headers))
        library = Path(options.library).resolve()
        command = [options.compiler, "-std=c++20", "-Wno-unused", *options.flags.split(), f"-I{options.root}/include",
                   str(source), "-o", str(binary), str(library), f"-Wl,-rpath,{library.parent}"]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode != 0:
            return f"does not compile\n{built.stderr}"
        ended = subprocess.run([str(binary)], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        return judge(snippet, ended.returncode, ended.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="root of the sources")
    parser.add_argument("--library", required=True, help="libheadway.so to link")
    parser.add_argument("--compiler", default="c++")
    parser.add_argument("--flags", default="", help="further compiler flags")
    options = parser.parse_args()

    include = options.root / "include"
    headers = sorted(str(p.relative_to(include)) for p in include.rglob("*.h"))
    documents = [options.root / "README.md", *sorted((options.root / "docs").glob("*.md"))]
    try:
        found = {d: extract(d.read_text(), str(d.relative_to(options.root))) for d in documents}
    except (Malformed, OSError) as error:
        print(error)
        return 1
    if not found[documents[0]]:
        print("README.md: no block is marked <!-- run -->")
        return 1

    snippets = [s for of_document in found.values() for s in of_document]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = list(pool.map(lambda s: run(s, options, headers), snippets))
    for snippet, problem in zip(snippets, problems):
        print(f"{snippet.where}: {problem or 'ok'}")
    return 1 if any(problems) else 0


if __name__ == "__main__":
    sys.exit(main())
