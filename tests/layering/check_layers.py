#!/usr/bin/env python3
"""Reads every #include of src/, include/headway/ and python/src/, and fails where the ladder of docs/architecture.md is
broken.

usage: check_layers.py SOURCE_ROOT
"""
import re
import sys
from pathlib import Path

# A layer may include a layer with a lower number. text, io and comm stand beside the ladder: they need core alone.
LEVEL = {"core": 0, "attention": 1, "text": 1, "io": 1, "comm": 1, "kernels": 2, "autograd": 3, "ops": 4, "nn": 5,
         "models": 6, "hub": 7, "parallel": 7, "jobs": 8, "train": 8, "inspect": 8, "cli": 9, "python": 9}
CORE_ALONE = {"text", "io", "comm"}

# Which layers may name a third-party header. Everything else comes from the standard library.
THIRD_PARTY = {
    r"dnnl": {"kernels"},
    r"hwy/": {"kernels"},
    r"omp\.h$": {"core", "kernels", "python"},  # kernels: how many threads oneDNN takes
    r"(pthread|signal)\.h$": {"core", "kernels"},  # core: fork; kernels: no signal inside oneDNN's products
    r"sentencepiece": {"text"},
    r"libxml/": {"text"},
    r"unicode/": {"text"},
    r"nlohmann/": {"text", "io", "models", "hub", "jobs", "train", "inspect", "cli"},
    r"stb/": {"io"},
    r"CLI/": {"cli"},
    r"nanobind/": {"python"},
    r"fmt/": set(LEVEL),
    r"(fcntl|fnmatch|unistd|poll|spawn|sched)\.h$|sys/": {"core", "io", "text", "train", "cli"},
    r"(immintrin|cpuid)\.h$": {"kernels"},
}

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:<([^>]+)>|"([^"]+)")', re.MULTILINE)
STANDARD = re.compile(r"^[a-z_0-9]+$")


def sources(root):
    for folder in ("src", "include/headway", "python/src"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".h", ".cpp", ".cu", ".cuh", ".inc"):
                yield path


def place(path, root):
    """(layer, is_public) of a file, or None where it stands in no layer."""
    parts = path.relative_to(root).parts
    if parts[:2] == ("include", "headway") and len(parts) > 3:
        return parts[2], True
    if parts[0] == "src" and len(parts) > 2:
        return parts[1], False
    if parts[:2] == ("python", "src"):
        return "python", False
    return None


def resolve(spelled, quoted, path, root):
    """The file of ours that an include names, or None."""
    folders = [root / "include"] + ([path.parent, root / "src"] if quoted else [root / "src"])
    for folder in folders:
        target = (folder / spelled).resolve()
        if target.is_file() and root in target.parents:
            return target
    return None


def may_include(layer, target):
    if layer == target:
        return True
    if layer in CORE_ALONE:
        return target == "core"
    return LEVEL[target] < LEVEL[layer]


def declared(root):
    """What src/CMakeLists.txt says each layer is linked to."""
    text = re.sub(r"#.*", "", (root / "src/CMakeLists.txt").read_text())
    calls = re.findall(r"headway_layer\((\w+)([^)]*)\)", text)
    return {name: set(re.split(r"\bLIBRARIES\b", rest)[0].replace("LAYERS", "").split()) for name, rest in calls}


def check(root):
    problems = []
    links = declared(root)
    for layer, lower in links.items():
        for target in sorted(lower):
            if not may_include(layer, target):
                problems.append(f"src/CMakeLists.txt: {layer} is linked to {target}, which is not below it")

    seen = 0
    for path in sources(root):
        name = path.relative_to(root)
        where = place(path, root)
        if where is None:
            if name.as_posix() != "include/headway/headway.h":  # the header that includes all the others
                problems.append(f"{name}: stands in no layer")
            continue
        layer, public = where
        if layer not in LEVEL:
            problems.append(f"{name}: folder {layer} is no layer of the ladder")
            continue
        text = path.read_text()
        own = layer == "core" or str(name) == "python/src/torch.cpp"  # which gives core::set_team PyTorch's threads
        if not own and re.search(r"^\s*#\s*pragma\s+omp\s+(?!simd\b)", text, re.MULTILINE):
            problems.append(f"{name}: an OpenMP pragma; parallel work goes through core::parallel_for")
        for angled, quoted in INCLUDE.findall(text):
            seen += 1
            problems += [f"{name}: {p}" for p in check_include(angled, quoted, path, layer, public, links, root)]
    if seen == 0:
        problems.append(f"{root}: found no include at all; is this the source root?")

    oracles = [p for p in sources(root) if "reference" in p.parts]
    for path in oracles:
        for angled, quoted in INCLUDE.findall(path.read_text()):
            if "kernels/cpu/" in (angled or quoted) or "kernels/cuda/" in (angled or quoted):
                problems.append(f"{path.relative_to(root)}: the oracle includes a kernel it is there to judge")
    return problems


def check_include(angled, quoted, path, layer, public, links, root):
    spelled = angled or quoted
    target = resolve(spelled, bool(quoted), path, root)
    if target is None:
        if spelled.startswith("headway/") or quoted:
            return [f"includes {spelled}, which is no file of ours"]
        if STANDARD.match(spelled):
            return []
        if public:
            return [f"is public and includes third-party <{spelled}>"]
        for pattern, layers in THIRD_PARTY.items():
            if re.match(pattern, spelled):
                known = ", ".join(sorted(layers))
                return [] if layer in layers else [f"includes <{spelled}>, which belongs to {known}"]
        return [f"includes <{spelled}>, which no layer is known to need (tests/layering)"]

    where = place(target, root)
    if where is None:
        return [f"includes {spelled}, which stands in no layer"]
    other, other_public = where
    if other not in LEVEL:
        return []
    if public and not other_public:
        return [f"is public and includes private {spelled}"]
    if not may_include(layer, other):
        return [f"includes {spelled}: {layer} may not look at {other}"]
    if layer in links and other != layer and other not in links[layer]:
        return [f"includes {spelled}, but src/CMakeLists.txt does not link {layer} to {other}"]
    return []


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = check(Path(sys.argv[1]).resolve())
    for problem in found:
        print(problem)
    sys.exit(1 if found else 0)
