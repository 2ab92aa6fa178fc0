import copy
from html.parser import HTMLParser
from typing import Any

import pytest
from markupsafe import Markup

from keras_sllmr.evaluation.report import gains, heat_map, plots

SLICES = {
    "all": {"rows": 942, "users": 942},
    "cold": {"rows": 311, "users": 311},
    "tail": {"rows": 58, "users": 57},
    "tail_rows": {"rows": 1243, "users": 236},
}
NONE = {"all": 0.8101, "cold": 0.7902, "tail": 0.6203, "tail_rows": 0.7004}
SLLMR = {"all": 0.8211, "cold": 0.7953, "tail": 0.6012, "tail_rows": 0.7006}


def _difference(metric: str, slice_: str, value: float, half: float) -> dict[str, Any]:
    return {
        "metric": metric,
        "slice": slice_,
        "method": "sllmr",
        "baseline": "none",
        "difference": value,
        "low": value - half,
        "high": value + half,
        "level": 0.95,
        "users": 942,
    }


def _method(label: str, sampled: dict[str, float]) -> dict[str, Any]:
    full = {key: value + 0.01 for key, value in sampled.items() if key != "tail_rows"}
    return {
        "label": label,
        "auc_sampled": sampled,
        "auc_full": full,
        "log_loss": {"all": 1 - sampled["all"]},
        "ndcg@10": {"all": sampled["all"] / 8},
    }


_METRICS = {
    "name": "demo",
    "created": "2026-11-22T22:00:00Z",
    "version": "0.1.0",
    "seed": 7,
    "store": {
        "fingerprint": "ab12cd34",
        "users": 942,
        "items": 1447,
        "interactions": 55375,
        "train_rows": 90210,
        "cold_rows": 2001,
        "tail_items": 289,
    },
    "teacher": {
        "name": "minilm+tfidf",
        "pairs": 30000,
        "coverage": 0.02,
        "users": 942,
        "origins": {"popular": 9000, "tail": 21000},
        "reliability": {
            "pairs": 1500,
            "accuracy": 0.6123,
            "bins": [
                {
                    "gap_low": 0.0,
                    "gap_high": 0.5,
                    "gap": 0.21,
                    "pairs": 1500,
                    "accuracy": 0.6123,
                },
                {
                    "gap_low": 0.5,
                    "gap_high": 1.0,
                    "gap": None,
                    "pairs": 0,
                    "accuracy": None,
                },
            ],
            "slices": {"all": {"pairs": 1500, "accuracy": 0.6123}},
        },
    },
    "slices": SLICES,
    "methods": {"none": _method("None", NONE), "sllmr": _method("S-LLMR", SLLMR)},
    "differences": [
        _difference("auc_sampled", "all", 0.011, 0.005),
        _difference("auc_sampled", "cold", 0.0051, 0.0052),
        _difference("auc_sampled", "tail", -0.0191, 0.01),
        _difference("auc_sampled", "tail_rows", 0.0002, 0.01),
        _difference("auc_full", "all", 0.011, 0.0123),
    ],
    "training": {
        "none": {
            "epochs": [
                {"epoch": 1, "loss": 0.61, "val_auc_sampled": 0.70},
                {"epoch": 2, "loss": 0.55, "val_auc_sampled": 0.74},
            ],
            "best_epoch": 2,
            "rows_per_second": 20123.4,
        },
        "sllmr": {
            "epochs": [
                {
                    "epoch": epoch,
                    "loss": 0.7,
                    "base_loss": 0.6,
                    "pair_loss": 0.1,
                    "val_auc_sampled": 0.7 + epoch / 50,
                    "alpha": 0.4123,
                    "alpha_cold": 0.5,
                    "alpha_warm": None,
                    "alpha_tail": 0.45,
                    "alpha_head": 0.35,
                    "gate_loss": 0.01,
                }
                for epoch in (1, 2, 3)
            ],
            "best_epoch": 3,
            "rows_per_second": 15000,
        },
    },
    "stages": [
        {"name": "import", "seconds": 1.23, "skipped": False},
        {"name": "score", "seconds": 75.0, "skipped": True},
    ],
    "settings": {"train": {"lambda": 0.1, "hidden": [200, 80]}, "empty": {}},
}


@pytest.fixture
def metrics() -> dict[str, Any]:
    return copy.deepcopy(_METRICS)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures that are only named: drawing takes most of a report's time."""

    def named(name: str, label: str, *_: Any, **__: Any) -> Markup:
        return Markup('<svg id="{}-0" aria-label="{}"></svg>').format(name, label)

    for module in (gains, heat_map, plots):
        monkeypatch.setattr(module, "inline_svg", named)


class Page(HTMLParser):
    """Checks that tags nest, and keeps tags with attributes, text and ids."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr", "wbr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"double attribute in <{tag}>"
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


@pytest.fixture
def parse() -> type[Page]:
    return Page


def _group(domain: str, backbone: str, shift: float) -> dict[str, Any]:
    """A run's metrics as a group: three seeds, and a second method beside S-LLMR."""
    run = copy.deepcopy(_METRICS)
    methods = run["methods"]
    methods["kd"] = {**copy.deepcopy(methods["sllmr"]), "label": "KD"}
    for method in methods.values():
        method["spread"] = {"auc_sampled": {"all": 0.0012, "cold": None}}
    differences = []
    for name in ("sllmr", "kd"):
        for one in copy.deepcopy(run["differences"]):
            value = one["difference"] = one["difference"] + shift
            one.update(
                method=name,
                low=one["low"] + shift,
                high=one["high"] + shift,
                by_seed=[value - 0.001, value, value + 0.001],
                p_value=0.00001 if one["metric"] == "auc_sampled" else None,
            )
            differences.append(one)
    return {
        "domain": domain,
        "backbone": backbone,
        "seeds": [0, 1, 2],
        "slices": run["slices"],
        "methods": methods,
        "differences": differences,
    }


_COMPARISON = {
    "name": "two domains",
    "level": 0.95,
    "corrected": "max-t",
    "seeds": "resampled",
    "groups": [
        _group("beauty", "deepfm", 0.0),
        _group("beauty", "dcnv2", -0.03),
        _group("toys", "deepfm", 0.0),
    ],
    "settings": {"replicates": 1000, "seed": 0},
}


@pytest.fixture
def comparison() -> dict[str, Any]:
    return copy.deepcopy(_COMPARISON)


_CALIBRATION = {
    "pairs": 400,
    "accuracy": 0.55,
    "ece": 0.0512,
    "brier": 0.2213,
    "bins": [
        {"chance": 0.25, "accuracy": 0.31, "pairs": 150},
        {"chance": 0.75, "accuracy": 0.69, "pairs": 250},
    ],
}


@pytest.fixture
def judged(metrics: dict[str, Any]) -> dict[str, Any]:
    """A run's metrics with all that says whether its chances hold."""
    for method in metrics["methods"].values():
        method["calibration"] = copy.deepcopy(_CALIBRATION)
    metrics["training"]["sllmr"].update(
        gate_map={
            "history_edges": [1, 2, 6],
            "popularity_edges": [0, 5, 90],
            "alpha": [[0.81, 0.42], [None, 0.0917]],
            "pairs": [[12, 30], [0, 1208]],
        },
        gate_calibration={"epoch": 3, **copy.deepcopy(_CALIBRATION), "auc": 0.6101},
    )
    return metrics
