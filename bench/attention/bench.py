"""The sides of a comparison on some number of threads: ours, the peers that are installed, and the ceilings."""

import math
import sys
import time
from pathlib import Path

from support.side import Worker, alternate, middle, program

PEERS = {
    "PyTorch": "torch_sdpa.py",
    "FlexAttention": "torch_flex.py",
    "ONNX Runtime": "onnxruntime_ops.py",
    "OpenVINO": "openvino_sdpa.py",
}
PASSES = {"forward": "forward", "forward_backward": "forward + backward"}
OURS = "Headway"


class Bench:
    def __init__(self, args, threads, folder):
        folder.mkdir()
        self.args, self.threads, self.folder, self.saved = args, threads, str(folder), None
        self.ours = self.worker(program(args.bin, "bench_attention"), "--do", "serve")
        self.ceiling = self.worker(program(args.bin, "bench_ceiling"))
        self.peers, self.versions = {}, {}
        for name in args.peers:
            try:
                self.start(name)
            except RuntimeError:
                print(f"{name} is not installed, or does not start: it is left out", file=sys.stderr)

    def worker(self, *command):
        return Worker([*command, "--threads", self.threads], self.threads)

    def start(self, name):
        worker = self.worker(sys.executable, "-B", Path(__file__).parent / "peers" / PEERS[name])
        self.versions.update(worker.ask(do="versions")["versions"])
        self.peers[name] = worker

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in [self.ours, self.ceiling, *self.peers.values()]:
            worker.close()

    def save(self, case):
        """Ours writes the case's arrays and its float32 results, which do not depend on the dtype."""
        wanted = {name: value for name, value in case.items() if name != "dtype"}
        if wanted != self.saved:
            self.ours.ask(case=case, save=self.folder)
            self.saved = wanted

    def ask(self, name, case, seconds):
        """A side's answer; "PyTorch: padded" is the path `padded` of PyTorch."""
        if name == OURS:
            return self.ours.ask(case=case, seconds=seconds)
        peer, _, path = name.partition(": ")
        return self.peers[peer].ask(
            case=case, folder=self.folder, seconds=seconds, **({"only": path} if path else {})
        )

    def compare(self, case, names, seconds=None):
        """Verifies every peer on the case, then times all who can in turn -> a row of the report."""
        names = [name for name in names if name.partition(": ")[0] in self.peers]
        cannot = {}
        if names:
            self.save(case)
        for name in names:
            try:
                told = self.ask(name, case, None)
            except RuntimeError:  # out of memory, say: the rows after this one are not its fault
                told = {"cannot": f"its process ended on {case}"}
                self.start(name.partition(": ")[0])
            if "cannot" in told:
                cannot[name] = told["cannot"]
        sides = {name: name for name in [OURS, *names] if name not in cannot}
        seconds = self.args.seconds if seconds is None else seconds
        results, begin = {name: [] for name in sides}, time.monotonic()
        while len(results[OURS]) < self.args.rounds:
            for name, answers in alternate(sides, 1, lambda name: self.ask(name, case, seconds)).items():
                results[name] += answers
            sides = dict(reversed(sides.items()))
            if time.monotonic() - begin > self.args.row_seconds:  # long runs average over noise themselves
                break
        row = {"threads": self.threads, "case": case, "sides": {}, "cannot": cannot}
        for name, answers in results.items():
            row["sides"][name] = {"paths": answers[0].get("paths"), "errors": answers[0].get("errors")}
            for what in PASSES:
                times = [answer[what] for answer in answers if answer.get(what) is not None]
                row["sides"][name][what] = middle(times) if times else None
        row.update({k: v for k, v in results[OURS][0].items() if k not in PASSES})
        print(f"  {describe(row)}", file=sys.stderr, flush=True)
        return row


def describe(row):
    case = row["case"]
    times = ", ".join(
        f"{name} {' / '.join(f'{1e3 * side[what]:.2f}' for what in PASSES if side[what])} ms"
        for name, side in row["sides"].items()
    )
    names = {k: v for k, v in case.items() if k not in ("lengths", "forward_only")}
    return f"{row['threads']} thread(s) {' '.join(str(v) for v in names.values())}: {times}"


def advantage(row, what):
    """How many times as long as ours the fastest peer takes; None where no peer can."""
    others = [side[what] for name, side in row["sides"].items() if name != OURS and side[what]]
    return min(others) / row["sides"][OURS][what] if others and row["sides"][OURS][what] else None


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def cells(row, what, names, shown):
    """shown(seconds) of each side, the fastest in bold; a dash where a side cannot."""
    times = {name: row["sides"].get(name, {}).get(what) for name in names}
    best = min((t for t in times.values() if t), default=None)
    marked = lambda t: f"**{shown(t)}**" if t == best and len(names) > 1 else shown(t)  # noqa: E731
    return [marked(t) if t else "—" for t in times.values()]


def milliseconds(seconds):
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{1e3 * seconds:.0f} ms"
