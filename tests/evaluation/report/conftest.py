import copy
from html.parser import HTMLParser
from typing import Any

import pytest

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


class Page(HTMLParser):
    """Checks that tags nest, and keeps tags with attributes, text and ids."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})

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
