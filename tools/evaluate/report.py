# SPDX-License-Identifier: MPL-2.0
"""Reports results next to published figures, as tables for the terminal and as a picture."""
import io
import json
from pathlib import Path

import matplotlib
from rich import box
from rich.table import Table
from rich.text import Text

from runs import write_atomically

matplotlib.use("Agg")
import matplotlib.pyplot as plt

NAMES = {"cpwer": "cpWER", "tcpwer": "tcpWER", "der_0": "DER", "der_0.25": "DER .25", "jer_0": "JER", "jer_0.25": "JER .25"}
PLOTTED = ["cpwer", "tcpwer", "der_0", "jer_0"]
TURNS = {"diarizer": "the diarizer's activity, 80 ms frames with a probability above 0.5, not post-processed",
         "segments": "the times of the segments of words, NOT the diarizer's activity",
         "file": "the hypotheses' RTTM"}
# Longer lists show only the worst recordings.
MAX_ROWS = 40
OVERALL = "overall"
# Okabe and Ito's colors, which are distinguishable with all kinds of color vision. Shapes are redundant with colors.
STYLES = [("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"), ("#56B4E9", "P")]
INK, PALE = "#222222", "#8a8f98"


def published_for(corpora: set[str]) -> list[dict]:
    """Returns the published figures of these corpora."""
    wanted = {corpus.casefold(): corpus for corpus in corpora if corpus}
    rows = json.loads((Path(__file__).resolve().parent / "published.json").read_text(encoding="utf-8"))
    return [{**row, "corpus": wanted[row["corpus"].casefold()]} for row in rows if row["corpus"].casefold() in wanted]


def percent(scores: dict, metric: str) -> float | None:
    rate = scores.get(metric, {}).get("rate")
    return None if rate is None else 100 * rate


def cell(scores: dict, metric: str) -> Text:
    value = percent(scores, metric)
    return Text("–" if value is None else f"{value:.2f}", justify="right")


def metrics_of(document: dict) -> list[str]:
    measured = {metric for c in document["configurations"] for metric in c["overall"]["scores"]}
    return [metric for metric in NAMES if metric in measured]


def worst_first(rows: list[dict], metrics: list[str]) -> list[dict]:
    """Returns up to MAX_ROWS rows: failed ones first, then the worst by the first metric, in manifest order."""
    if len(rows) <= MAX_ROWS:
        return rows
    ranked = sorted(rows, key=lambda row: -(percent(row["scores"], metrics[0]) or 0) if row["status"] == "ok" else -float("inf"))
    return sorted(ranked[:MAX_ROWS], key=lambda row: row["row"])


def print_tables(document: dict, console):
    metrics = metrics_of(document)
    for configuration in document["configurations"]:
        rows = configuration["recordings"]
        shown = worst_first(rows, metrics or ["cpwer"])
        several = f", worst {len(shown)} of {len(rows)} recordings" if len(shown) < len(rows) else ""
        table = new_table(f"{configuration['name']}{several}", metrics)
        for row in shown:
            style = {"ok": "", "empty": "yellow", "failed": "bold red"}[row["status"]]
            name = Text(row["session"], style=style)
            if row["status"] == "failed":
                table.add_row(name, *[Text("failed", style=style)] * len(metrics), Text("–"))
            else:
                table.add_row(name, *[cell(row["scores"], metric) for metric in metrics], factor(row.get("real_time_factor")))
        console.print(table)
    corpora = list(dict.fromkeys(corpus for c in document["configurations"] for corpus in c["corpora"]))
    for corpus in corpora:
        table = new_table(f"{corpus or 'no corpus'}, {count_of(document, corpus)}", metrics)
        for configuration in document["configurations"]:
            if corpus in configuration["corpora"]:
                add_summary(table, configuration["name"], configuration["corpora"][corpus], metrics)
        table.add_section()
        for row in (row for row in document["published"] if row["corpus"] == corpus):
            table.add_row(*[Text(text, style="dim") for text in (f"published, {row['who']}", *[
                f"{row['percent']:.2f}" if row["metric"] == metric else "" for metric in metrics], "")])
        console.print(table)
    if len(corpora) != 1 or any(c["overall"]["failed"] for c in document["configurations"]):
        table = new_table("all recordings", metrics)
        for configuration in document["configurations"]:
            add_summary(table, configuration["name"], configuration["overall"], metrics)
        console.print(table)
    for line in notes(document):
        console.print(Text(line, style="dim"))


def count_of(document: dict, corpus: str) -> str:
    count = max(c["corpora"][corpus]["recordings"] for c in document["configurations"] if corpus in c["corpora"])
    return "1 recording" if count == 1 else f"{count} recordings"


def new_table(title: str, metrics: list[str]) -> Table:
    table = Table(title=Text(title, style="bold"), title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("%", overflow="fold", min_width=22)
    for name in [NAMES[metric] for metric in metrics] + ["RTF"]:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def add_summary(table: Table, name: str, summary: dict, metrics: list[str]):
    good = summary["recordings"] - summary["failed"]
    text = Text(f"{name}, {good} of {summary['recordings']}", style="bold red") if summary["failed"] else Text(name, style="bold")
    table.add_row(text, *[cell(summary["scores"], metric) for metric in metrics], factor(summary["real_time_factor"]))


def factor(value: float | None) -> Text:
    return Text("–" if value is None else f"{value:.3f}")


def notes(document: dict) -> list[str]:
    """Explains what the figures mean and which references were used."""
    summaries = [c["overall"] for c in document["configurations"]]
    lines = [f"cpWER, tcpWER: meeteval, text normalized as for Whisper; tcpWER with a collar of {document['tcp_collar_s']:g} s."]
    for kind in sorted({kind for s in summaries for kind in s["der_of"]}):
        lines.append(f"DER, JER: {TURNS[kind]}; overlap is scored; .25 excludes 0.25 s on both sides of each boundary.")
    for reference in sorted({reference for s in summaries for reference in s["rttm_references"]}):
        lines.append(f"Reference RTTM: {reference}.")
    if any(s["real_time_factor"] is not None for s in summaries):
        jobs = f", {document['jobs']} recordings in parallel" if document["jobs"] > 1 else ""
        lines.append(f"RTF, real-time factor: seconds of processing per second of audio, excluding model loading{jobs}.")
    return lines


def write_plots(document: dict, folder: Path):
    """Writes results.svg and results.png: each recording and the overall result, by corpus and metric."""
    metrics = [metric for metric in PLOTTED if metric in metrics_of(document)]
    corpora = list(dict.fromkeys(corpus for c in document["configurations"] for corpus in c["corpora"]))
    if not metrics or not corpora:
        return
    configurations = document["configurations"]
    rows = {corpus: sessions_of(document, corpus, metrics) for corpus in corpora}
    step = 0.16 + 0.11 * len(configurations)  # inches per row
    heights = [step * (len(rows[corpus]) + 1) + 0.45 for corpus in corpora]
    plt.rcParams.update({"font.family": "sans-serif", "font.size": 9, "text.parse_math": False, "svg.fonttype": "none",
                         "text.color": INK, "axes.labelcolor": INK, "xtick.color": PALE, "ytick.color": INK})
    figure, grid = plt.subplots(len(corpora), len(metrics), figsize=(1.9 + 2.2 * len(metrics), sum(heights) + 1.5), squeeze=False,
                                sharex="col", sharey="row", height_ratios=heights, layout="constrained")
    for corpus, line in zip(corpora, grid):
        for metric, axes in zip(metrics, line):
            draw(axes, document, corpus, metric, rows[corpus])
        line[0].set_yticks(range(len(rows[corpus]) + 1), [OVERALL, *(short(name) for name in rows[corpus])])
        line[0].get_yticklabels()[0].set_fontweight("bold")
        if corpus:
            line[0].set_title(corpus, loc="left", fontweight="bold", fontsize=10, pad=26 if document["published"] else 6)
    for metric, axes in zip(metrics, grid[-1]):
        axes.set_xlabel(f"{NAMES[metric]}, %")
        # Similar metrics share a scale.
        similar = [other for other in metrics if other.split("_")[-1] == metric.split("_")[-1] or {other, metric} <= {"cpwer", "tcpwer"}]
        axes.set_xlim(0, 1.25 * max((value for other in similar for value in values_of(document, other)), default=0) or 1)
    handles = [plt.Line2D([], [], color=color, marker=shape, linestyle="", markersize=7) for color, shape in styles(configurations)]
    labels = [short(c["name"], 60) for c in configurations]
    if document["published"]:
        handles.append(plt.Line2D([], [], color=PALE, linestyle=(0, (4, 3)), linewidth=1))
        labels.append("published")
    figure.legend(handles, labels, loc="outside upper left", ncols=min(len(labels), 3), frameon=False)
    figure.supxlabel("\n".join(notes(document)), fontsize=7, color=PALE, ha="left", x=0.01)
    for suffix in ("svg", "png"):
        data = io.BytesIO()
        figure.savefig(data, format=suffix, dpi=160, facecolor="white")
        write_atomically(folder / f"results.{suffix}", data.getvalue())
    plt.close(figure)


def values_of(document: dict, metric: str) -> list[float]:
    """Returns all measured and published values of a metric."""
    scores = [row["scores"] for c in document["configurations"] for row in c["recordings"] + list(c["corpora"].values())]
    measured = [value for score in scores if (value := percent(score, metric)) is not None]
    return measured + [row["percent"] for row in document["published"] if row["metric"] == metric]


def sessions_of(document: dict, corpus: str, metrics: list[str]) -> list[str]:
    rows = [row for row in document["configurations"][0]["recordings"] if row["corpus"] == corpus]
    return [row["session"] for row in worst_first(rows, metrics)]


def styles(configurations: list) -> list[tuple[str, str]]:
    return [STYLES[number % len(STYLES)] for number in range(len(configurations))]


def short(name: str, max_length: int = 26) -> str:
    return name if len(name) <= max_length else name[:max_length - 1] + "…"


def draw(axes, document: dict, corpus: str, metric: str, sessions: list[str]):
    configurations = document["configurations"]
    published = sorted(row["percent"] for row in document["published"] if row["corpus"] == corpus and row["metric"] == metric)
    for number, value in enumerate(published):
        axes.axvline(value, color=PALE, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
        # Labels alternate between three heights, because some values are close to each other.
        axes.annotate(f"{value:g}", (value, 1), xycoords=("data", "axes fraction"), xytext=(0, 2 + 8 * (number % 3)),
                      textcoords="offset points", ha="center", fontsize=6.5, color=PALE)
    axes.axhspan(-0.5, 0.5, color="#f2f4f7", zorder=0)
    for number, (configuration, (color, shape)) in enumerate(zip(configurations, styles(configurations))):
        dodge = (number - (len(configurations) - 1) / 2) * 0.72 / max(len(configurations), 2)
        if corpus in configuration["corpora"] and (value := percent(configuration["corpora"][corpus]["scores"], metric)) is not None:
            axes.plot(value, dodge, color=color, marker=shape, markersize=7, markeredgecolor="white", zorder=3)
            axes.annotate(f"{value:.1f}", (value, dodge), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8,
                          fontweight="bold", color=color, zorder=4)
        scores = {row["session"]: row["scores"] for row in configuration["recordings"]}
        for place, session in enumerate(sessions, 1):
            if (value := percent(scores.get(session, {}), metric)) is not None:
                axes.plot(value, place + dodge, color=color, marker=shape, markersize=4.5, markeredgecolor="white",
                          markeredgewidth=0.5, zorder=3)
            elif session in scores and not scores[session]:
                axes.annotate("failed", (0, place + dodge), xytext=(4, 0), textcoords="offset points", va="center", fontsize=7, color=color)
    axes.set_ylim(len(sessions) + 0.5, -0.5)
    axes.grid(axis="x", color="#e4e7ec", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#c9ced6")
