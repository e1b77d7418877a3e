"""Fails where the library has a function's static object that is made under a guard.

A child forked while another thread makes such an object waits for ever (core/fork.h). What is made late is a
core::MadeOnce, what holds a core::WaitedMutex is made when the library is loaded.
"""

import subprocess
import sys


def guards(symbols: str) -> list[str]:
    """Objects of namespace headway that `nm --format=sysv -C` lists with a guard, but for those of a thread alone."""
    marker = "guard variable for headway::"
    lines = (line for line in symbols.splitlines() if line.startswith(marker) and "TLS|" not in line)
    return sorted({line.partition("|")[0].removeprefix("guard variable for ").strip() for line in lines})


def main() -> int:
    library = sys.argv[1]
    symbols = subprocess.run(["nm", "--format=sysv", "-C", library], check=True, capture_output=True, text=True).stdout
    if "headway::" not in symbols:
        print(f"{library} has no symbols; want one that is not stripped")
        return 1
    found = guards(symbols)
    for name in found:
        print(f"{name} is made under a guard; want core::MadeOnce or an object made at load (core/fork.h)")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
