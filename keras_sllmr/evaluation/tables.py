"""A comparison as tables: CSV, Markdown and LaTeX."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from keras_sllmr.evaluation.report.comparison import metric_names
from keras_sllmr.evaluation.report.sentences import remarks
from keras_sllmr.evaluation.report.wording import number, signed, slice_title
from keras_sllmr.io.atomic import replace_file

#: by verdict.
MARKS = {"better": "▲", "worse": "▼"}
_LATEX_MARKS = {"▲": r"$^{\uparrow}$", "▼": r"$^{\downarrow}$"}


def comparison_frame(comparison: Mapping[str, Any]) -> pd.DataFrame:
    """One line a domain, backbone, metric, slice and method.

    Args:
        comparison: what `compare` gives.

    Returns:
        Columns `domain`, `backbone`, `metric`, `slice`, `rows`, `users`, `method`,
        `label`, `seeds`, `value` (the mean over seeds), `spread` (their standard
        deviation), `published`, and of the difference to the baseline `difference`,
        `low`, `high`, `level`, `p_value`, `verdict` and `by_seed`; missing where there
        is none.
    """
    lines = []
    for group in comparison["groups"]:
        compared = {
            (one["method"], one["metric"], one["slice"]): one
            for one in group["differences"]
        }
        methods = group["methods"]
        for metric in metric_names(group):
            for name, counts in group["slices"].items():
                for method, figures in methods.items():
                    if name not in figures.get(metric, {}):
                        continue
                    difference = compared.get((method, metric, name), {})
                    published = figures.get("published", {})
                    by_seed = difference.get("by_seed", ())
                    lines.append(
                        {
                            "domain": group["domain"],
                            "backbone": group["backbone"],
                            "metric": metric,
                            "slice": name,
                            **counts,
                            "method": method,
                            "label": figures["label"],
                            "seeds": len(figures["seeds"]),
                            "value": figures[metric][name],
                            "spread": figures["spread"].get(metric, {}).get(name),
                            "published": published.get(metric, {}).get(name),
                            **{key: difference.get(key) for key in _OF_DIFFERENCES},
                            "by_seed": " ".join(map(str, by_seed)),
                        }
                    )
    return pd.DataFrame(lines)


_OF_DIFFERENCES = ("difference", "low", "high", "level", "p_value", "verdict")


def write_tables(
    comparison: Mapping[str, Any], folder: str | os.PathLike[str], *, stem: str
) -> list[Path]:
    """Writes a comparison as `<stem>.csv`, `.md` and `.tex`.

    Args:
        comparison: what `compare` gives.
        folder: where to; made when it is missing.
        stem: the files' name before the dot.

    Returns:
        The files.
    """
    frame = comparison_frame(comparison)
    texts = {
        "csv": frame.to_csv(index=False),
        "md": _markdown(comparison, frame),
        "tex": _latex(comparison, frame),
    }
    paths = []
    for ending, text in texts.items():
        path = Path(folder) / f"{stem}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as beside:
            beside.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


def caption(comparison: Mapping[str, Any]) -> str:
    """What the intervals of a comparison stand for."""
    seeds = max(len(group["seeds"]) for group in comparison["groups"])
    drawn = "users"
    if seeds > 1:
        resampled = comparison["seeds"] == "resampled"
        drawn += " and seeds" if resampled else ", the seeds as they are"
    told = (
        f"Differences are paired, over {drawn}; the {100 * comparison['level']:g} % "
        "intervals of a metric and slice hold at once for all methods, backbones and "
        "domains (max-t). Better or worse: the interval excludes zero."
    )
    return " ".join([told, *remarks(*comparison["groups"])])


def with_published(value: Any, published: Any, mark: str = "") -> str:
    """A figure, its mark, and beside it the published one if there is one."""
    text = number(None if pd.isna(value) else value) + mark
    return text if pd.isna(published) else f"{text} ({number(published)})"


def value_cells(lines: pd.DataFrame) -> list[str]:
    """Of lines of a `comparison_frame`: figures, verdicts' marks, published figures."""
    return [
        with_published(value, published, MARKS.get(str(verdict), ""))
        for value, verdict, published in zip(
            lines["value"], lines["verdict"], lines["published"], strict=True
        )
    ]


def _markdown(comparison: Mapping[str, Any], frame: pd.DataFrame) -> str:
    tests = "p: DeLong's test, rows and seeds as they are, adjusted by Holm."
    marks = "▲ better, ▼ worse than the baseline."
    parts = [f"{caption(comparison)} {tests}", marks]
    for (metric, name), part in _parts(frame):
        parts.append(f"## {metric}, {slice_title(name)}")
        table = _pivot(part).reset_index()
        parts.append(table.to_markdown(index=False, disable_numparse=True))
        compared = part[part["difference"].notna()]
        if len(compared):
            details = compared[["domain", "backbone", "label"]].copy()
            details["difference"] = compared["difference"].map(signed)
            details["interval"] = [
                "-" if pd.isna(low) else f"[{signed(low)}, {signed(high)}]"
                for low, high in zip(compared["low"], compared["high"], strict=True)
            ]
            details["verdict"] = compared["verdict"]
            details["p"] = [
                "-" if pd.isna(p) else f"{p:.2g}" for p in compared["p_value"]
            ]
            details["by seed"] = [
                " ".join(signed(float(one)) for one in text.split() if one != "None")
                for text in compared["by_seed"]
            ]
            parts.append(details.to_markdown(index=False, disable_numparse=True))
    return "\n\n".join(parts) + "\n"


def _latex(comparison: Mapping[str, Any], frame: pd.DataFrame) -> str:
    parts = ["% Needs the package booktabs."]
    for (metric, name), part in _parts(frame):
        table = _pivot(part)
        # Escaped first: the marks below are commands.
        styled = table.style.format(escape="latex").format_index(escape="latex", axis=0)
        text = styled.format_index(escape="latex", axis=1).to_latex(
            hrules=True,
            column_format="l" * table.index.nlevels + "r" * table.shape[1],
            position="t",
            caption=f"{metric}, {slice_title(name)}. {caption(comparison)}".replace(
                "_", r"\_"
            ).replace("%", r"\%"),
        )
        for mark, command in _LATEX_MARKS.items():
            text = text.replace(mark, command)
        parts.append(text)
    return "\n".join(parts)


def _parts(frame: pd.DataFrame) -> Any:
    return frame.groupby(["metric", "slice"], sort=False)


def _pivot(part: pd.DataFrame) -> pd.DataFrame:
    """Domain, backbone and rows against methods; values with their verdicts' marks."""
    table = part.assign(cell=value_cells(part), n=part["rows"].map("{:,}".format))
    table = table.pivot(
        index=["domain", "backbone", "n"], columns="label", values="cell"
    )
    order = list(dict.fromkeys(part["label"]))
    lines = list(dict.fromkeys(zip(part["domain"], part["backbone"], strict=True)))
    table = table[order].fillna("-")
    table.columns.name = None
    return table.loc[
        [pair for line in lines for pair in table.index if pair[:2] == line]
    ]
