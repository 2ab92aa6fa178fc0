"""The tables of docs/results.md, from what `sllmr compare` says of the grid's results.

    sllmr compare benchmarks/results --published benchmarks/published/paper.csv \\
        --to runs/compared
    sllmr compare benchmarks/results --baseline sllmr --to runs/against
    python benchmarks/results_page.py --compared runs/compared --against runs/against

In the page a table stands between `<!-- table: NAME -->` and `<!-- end -->`; what is
there is replaced, all else stays.
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from keras_sllmr.evaluation.report.wording import signed, slice_title
from keras_sllmr.evaluation.result import find_results
from keras_sllmr.evaluation.tables import MARKS, comparison_frame, value_cells
from keras_sllmr.io.atomic import read_json, replace_file

BACKBONES = {
    "deepfm": "DeepFM",
    "xdeepfm": "xDeepFM",
    "autoint": "AutoInt",
    "dcn": "DCNv1",
    "dcnv2": "DCNv2",
    "din": "DIN",
}
METHODS = ("none", "kd", "kar", "llm_cf", "sllmr")
ABLATIONS = ("none", "global", "pointwise", "sllmr")
SLICES = ("all", "cold", "tail", "tail_rows")
_BLOCK = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)

Frame = pd.DataFrame


def chosen(frame: Frame, methods: tuple[str, ...], **where: Any) -> Frame:
    """Lines of some methods, by backbone and domain in the paper's order."""
    for name, value in where.items():
        frame = frame[frame[name] == value]
    frame = frame[frame["method"].isin(methods)]
    place = {name: k for k, name in enumerate([*BACKBONES, *methods])}
    return frame.sort_values(
        ["domain", "backbone", "method"], key=lambda v: v.map(place).fillna(0)
    )


def row_titles(frame: Frame) -> Frame:
    """Domain and backbone as the paper writes them."""
    return frame.assign(
        domain=frame["domain"].str.capitalize(),
        backbone=frame["backbone"].map(BACKBONES),
    )


def values(frame: Frame, metric: str, slice_: str, methods: tuple[str, ...]) -> Frame:
    """Methods side by side: value, verdict against None, the paper's figure."""
    part = row_titles(chosen(frame, methods, metric=metric, slice=slice_))
    return _wide(part.assign(cell=value_cells(part)), "label")


def differences(frame: Frame, metric: str, method: str) -> Frame:
    """One method's difference to the baseline, slices side by side."""
    part = row_titles(chosen(frame, (method,), metric=metric))
    part = part[part["slice"].isin(SLICES)]
    part = part.assign(slice=part["slice"].map(slice_title))
    return _wide(part.assign(cell=list(map(_difference, part.itertuples()))), "slice")


def against(frame: Frame, metric: str, slice_: str, methods: tuple[str, ...]) -> Frame:
    """The lead of S-LLMR over each other method, where that is the baseline."""
    part = row_titles(chosen(frame, methods, metric=metric, slice=slice_))
    part = part[part["difference"].notna()]
    turned = part.assign(
        difference=-part["difference"],
        low=-part["high"],
        high=-part["low"],
        verdict=part["verdict"].map(
            {"better": "worse", "worse": "better", "level": "level"}
        ),
    )
    cells = list(map(_difference, turned.itertuples()))
    return _wide(turned.assign(cell=cells), "label")


def ablation(frame: Frame) -> Frame:
    """Table 3: the ablations on DCNv2, slices side by side, beside the paper's."""
    part = chosen(frame, ABLATIONS, metric="auc_sampled", backbone="dcnv2")
    part = row_titles(part[part["slice"].isin(SLICES)])
    part = part.assign(cell=value_cells(part), slice=part["slice"].map(slice_title))
    table = part.pivot(index=["domain", "label"], columns="slice", values="cell")
    rows = list(dict.fromkeys(zip(part["domain"], part["label"], strict=True)))
    return table.loc[rows, list(dict.fromkeys(part["slice"]))].reset_index()


def settings(results: Path) -> Frame:
    """What differs from the defaults in the training settings of each cell."""
    from keras_sllmr.training.settings import TrainSettings

    told: dict[tuple[str, str, str], str] = {}
    labels: dict[str, str] = {}
    for result in find_results([results]):
        about = result.about
        given = TrainSettings.model_validate(about["train"])
        changed = given.model_dump(mode="json", exclude_defaults=True)
        for name in ("seed", "epochs"):
            changed.pop(name, None)
        changed.get("backbone", {}).pop("name", None)
        text = ", ".join(f"{name} {value:g}" for name, value in _flat(changed))
        key = (about["domain"], about["backbone"], about["method"])
        if told.setdefault(key, text or "defaults") != (text or "defaults"):
            raise SystemExit(f"Settings of {' '.join(key)} differ between cells.")
        labels[about["method"]] = about.get("label", about["method"])
    rows = [
        (
            domain.capitalize(),
            BACKBONES[backbone],
            labels[method],
            told[domain, backbone, method],
        )
        for domain in dict.fromkeys(domain for domain, _, _ in told)
        for backbone in BACKBONES
        for method in dict.fromkeys((*METHODS, *ABLATIONS))
        if (domain, backbone, method) in told
    ]
    return pd.DataFrame(rows, columns=["domain", "backbone", "method", "settings"])


def _flat(nested: dict[str, Any]) -> list[tuple[str, Any]]:
    """Leaves by their own names: these do not clash."""
    found: list[tuple[str, Any]] = []
    for name, value in nested.items():
        found += _flat(value) if isinstance(value, dict) else [(name, value)]
    return found


def _difference(line: Any) -> str:
    if pd.isna(line.difference):
        return "-"
    text = signed(line.difference) + MARKS.get(str(line.verdict), "")
    return (
        text
        if pd.isna(line.low)
        else f"{text} [{signed(line.low)}, {signed(line.high)}]"
    )


def _wide(part: Frame, column: str) -> Frame:
    """`cell` by domain and backbone against a column, in the order they come."""
    table = part.pivot(index=["domain", "backbone"], columns=column, values="cell")
    rows = list(dict.fromkeys(zip(part["domain"], part["backbone"], strict=True)))
    table = table.loc[rows, list(dict.fromkeys(part[column]))]
    return table.fillna("-").reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--compared", type=Path, required=True)
    parser.add_argument("--against", type=Path, required=True)
    parser.add_argument("--page", type=Path, default=Path("docs/results.md"))
    given = parser.parse_args()
    compared = comparison_frame(read_json(given.compared / "comparison.json"))
    leads = comparison_frame(read_json(given.against / "comparison.json"))
    tables: dict[str, Callable[[], Frame]] = {
        "paper": lambda: values(compared, "auc_sampled", "all", METHODS),
        "full": lambda: values(compared, "auc_full", "all", METHODS),
        "gains": lambda: differences(compared, "auc_sampled", "sllmr"),
        "leads": lambda: against(leads, "auc_sampled", "all", METHODS),
        "ablation": lambda: ablation(compared),
        "settings": lambda: settings(given.results),
    }

    def filled(block: re.Match[str]) -> str:
        table = tables[block[2]]()
        text = table.to_markdown(index=False, disable_numparse=True)
        return f"{block[1]}{text}\n{block[3]}"

    text = _BLOCK.sub(filled, given.page.read_text())
    with replace_file(given.page) as beside:
        beside.write_text(text)


if __name__ == "__main__":
    main()
