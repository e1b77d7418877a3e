#!/usr/bin/env python3
"""Runs clang-tidy over the sources of the compilation database below some folders, one process per core.

usage: run_clang_tidy.py CLANG_TIDY BUILD_FOLDER SOURCE_FOLDER...
"""
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


# g++'s precompiled headers mean nothing to clang, and would hide that a file lacks an include.
PRECOMPILED = re.compile(r" -Winvalid-pch| -include \S*cmake_pch\.hxx| -fpch-preprocess")


def main(tidy, build, *folders):
    entries = json.loads(PRECOMPILED.sub("", (Path(build) / "compile_commands.json").read_text()))
    with tempfile.TemporaryDirectory() as database:
        (Path(database) / "compile_commands.json").write_text(json.dumps(entries))
        return check_files(tidy, database, entries, folders)


def check_files(tidy, build, entries, folders):
    roots = {Path(folder).resolve() for folder in folders}
    files = sorted({e["file"] for e in entries if roots & set(Path(e["file"]).resolve().parents)})
    if not files:
        print(f"no file below {folders} in the compilation database")
        return 1

    def check(file):
        # g++'s -fopenmp finds no omp.h of clang's; the pragmas are not what is looked at here.
        command = [tidy, "-p", build, "--quiet", "--extra-arg=-Wno-unknown-warning-option", file]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for file, ended in zip(files, pool.map(check, files)):
            if ended.returncode != 0:
                failed += 1
                print(f"{file}\n{ended.stdout}{ended.stderr}")
    print(f"{len(files)} files, {failed} with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
