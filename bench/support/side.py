"""What the runners share: workers (see worker.h), alternation, medians and tables."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path


class Worker:
    """A program that answers one line of JSON with one line of JSON."""

    def __init__(self, command, threads, cwd=None):
        env = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
        self.command = [str(part) for part in command]
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=cwd
        )

    def ask(self, **request):
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"{' '.join(self.command)} ended with {self.process.wait()} at {str(request)[:200]}")
        return json.loads(line)

    def close(self):
        if self.process.poll() is None:
            try:
                self.process.stdin.close()
                self.process.wait(timeout=60)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                self.process.kill()
                self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def alternate(sides, rounds, work):
    """work(side) for each side in turn, `rounds` times; the order turns round each time. -> {name: [results]}"""
    results = {name: [] for name in sides}
    for i in range(rounds):
        names = list(sides) if i % 2 == 0 else list(sides)[::-1]
        for name in names:
            results[name].append(work(sides[name]))
    return results


def middle(values):
    return statistics.median(values)


def spread(values):
    """Half of the range between quartiles, relative to the median."""
    if len(values) < 4:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2 / statistics.median(values)


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join(" --- " for _ in header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def machine():
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown processor",
    )
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "load_at_start": os.getloadavg()[0],
        "command": " ".join(["python3", *sys.argv]),
    }


def finish(report, text, output):
    report["load_at_end"] = os.getloadavg()[0]
    print(text)
    print(f"\nload: {report['machine']['load_at_start']:.1f} at the start, {report['load_at_end']:.1f} at the end")
    if output:
        Path(output).write_text(json.dumps(report, indent=1) + "\n")


def program(folder, name):
    path = Path(folder) / name
    if not path.exists():
        sys.exit(f"{path} is missing; build with -DHEADWAY_BUILD_BENCH=ON, and name its bin folder with --bin")
    return path.resolve()
