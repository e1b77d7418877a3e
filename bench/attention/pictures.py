"""Plots of what run.py measured, as SVG."""

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "headway", "svg.fonttype": "none", "font.size": 9})
import matplotlib.pyplot as plt  # noqa: E402
from bench import OURS, PASSES  # noqa: E402
from sections import OPERATIONS, by_kind, names_with  # noqa: E402

COLOURS = {
    OURS: "#1b5e9b",
    "PyTorch": "#d9822b",
    "FlexAttention": "#e8b878",
    "ONNX Runtime": "#7a7a7a",
    "OpenVINO": "#8e6bb0",
}


def write(figure, path):
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)


def bars(rows, share, passes, title, path):
    """A panel for each pass, a group for each row, a bar for each side: its share of the ceiling."""
    figure, panels = plt.subplots(
        1, len(passes), figsize=(5.5 * len(passes), 0.6 + 0.42 * len(rows)), sharey=True, squeeze=False
    )
    for panel, what in zip(panels[0], passes):
        names = names_with(rows, what)
        height = 0.8 / len(names)
        for place, name in enumerate(names):
            values = [100 * share(row, what, row["sides"].get(name, {}).get(what)) for row in rows]
            at = [i + (place + 0.5) * height - 0.4 for i in range(len(rows))]
            panel.barh(at, values, height, label=name, color=COLOURS[name])
        panel.set_yticks(range(len(rows)), [" ".join(row["label"]) for row in rows])
        panel.set_xlabel(f"{PASSES[what]}: % of the ceiling")
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8, ncols=len(names), loc="lower left", bbox_to_anchor=(0, 1))
    panels[0][0].invert_yaxis()  # of both: they share it
    panels[0][0].set_ylabel(title)
    write(figure, path)


def grid(section, folder):
    def share(row, what, seconds):
        return OPERATIONS[what] * row["operations"] / 1e9 / row["gflops"] / seconds if seconds else 0

    for (dtype, threads), rows in by_kind(section["rows"]):
        bars(rows, share, list(PASSES), f"{dtype}, {threads} thread(s)", folder / f"grid-{dtype}-{threads}.svg")


def decode(section, folder):
    def share(row, _, seconds):
        return row["key_value_bytes"] / 1e9 / row["read"] / seconds if seconds else 0

    for (dtype, threads), rows in by_kind(section["rows"]):
        title = f"decoding, {dtype}, {threads} thread(s): read bandwidth"
        bars(rows, share, ["forward"], title, folder / f"decode-{dtype}-{threads}.svg")


def lines_by_length(series, growths, label, path):
    """log-log; `growths`: for some series (name, exponent, what to call it), a dashed line through its last point."""
    figure, panel = plt.subplots(figsize=(6, 4.5))
    for name, points in series.items():
        lengths = [n for n, _ in points]
        (line,) = panel.loglog(lengths, [y for _, y in points], "o-", base=2, markersize=4, label=name)
        for of, exponent, title in growths:
            if of == name:
                last, height = points[-1]
                panel.plot(
                    lengths, [height * (n / last) ** exponent for n in lengths], "--", color=line.get_color()
                )
                panel.annotate(title, (last, height), xytext=(6, 0), textcoords="offset points", va="center")
    panel.set_yscale("log", base=10)
    panel.set_xticks(lengths, [f"{n // 1024}k" for n in lengths])
    panel.set_xlabel("length")
    panel.set_ylabel(label)
    panel.legend(frameon=False)
    panel.spines[["top", "right"]].set_visible(False)
    write(figure, path)


def curve(section, folder):
    series = {}
    for row in section["rows"]:
        series.setdefault(row["pattern"], []).append((row["length"], 1e3 * row["sides"][OURS]["forward"]))
    growths = [("dense", 2, "n²"), ("strided(√n)", 1.5, "n√n"), ("big_bird", 1, "n"), ("window(512, 0)", 1, "n")]
    lines_by_length(series, growths, "forward, ms", folder / "time-by-length.svg")


def memory(section, folder):
    points = [(row["length"], row["bytes"] / 1e6) for row in section["rows"]]
    lines_by_length(
        {"forward + backward": points}, [("forward + backward", 1, "n")], "peak, MB", folder / "memory.svg"
    )


PICTURES = {"grid": grid, "decode": decode, "curve": curve, "memory": memory}
