from typing import Any

import pytest

from keras_sllmr.cli.inspection_view import show_inspection

RIGHT = {"pairs": 1200, "users": 300, "accuracy": 0.75, "low": 0.7, "high": 0.8}
COVERED = {"number": 9, "scored": 6, "share": 0.667, "pairs_each": 2.5}
FOUND: dict[str, Any] = {
    "teacher": {
        "name": "a+llm",
        "weights": [1, 3],
        "teachers": [
            {"name": "a"},
            {"name": "llm", "model": "m[/]\x1b[1m", "prompt_hash": "0123456789abcdef"},
        ],
    },
    "pairs": 2000,
    "missing": 7,
    "imputed": 0,
    "coverage": {
        "share": 0.05,
        "users": {"all": COVERED, "cold": COVERED},
        "items": {"all": COVERED, "other": COVERED},
        "origins": {
            "near": {"pairs": 2000, "share": 1.0, "each": {"cold": 2.5, "other": 3.25}}
        },
    },
    "distribution": {
        "quantiles": {"0": 0.0, "50": 0.25, "100": 1.0},
        "histogram": [100, 50, 0, 0, 0, 0, 0, 0, 0, 25],
        "distinct": 12,
        "share_0": 0.5,
        "share_half": 0.0,
        "share_1": 0.1,
        "ties": None,
        "std_within_users": 0.125,
        "averaged": 3,
        "answers": 2.0,
        "spread": 0.0625,
    },
    "agreement": {
        "all": RIGHT,
        "history": {"1-3": RIGHT, "16+": RIGHT},
        "popularity": {"tail": RIGHT},
        "negative": {"more_popular": RIGHT},
        "gap": [{"gap_low": 0.0, "gap_high": 0.5, "gap": 0.2, **RIGHT}],
    },
    "cost": {
        "pairs": 2007,
        "usd": 0.5,
        "usd_per_1000_pairs": 0.25,
        "ledger": {"requests": 4321, "outcomes": {"ok": 1}},
    },
    "failures": {
        "missing": {},
        "failed": {"refused": 5},
        "problems": {"foreign": 1},
        "stopped_by": "max_usd",
    },
}


def _shown(found: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> list[str]:
    show_inspection(found)
    text = capsys.readouterr().out
    assert "\x1b" not in text
    return [" ".join(line.split()) for line in text.splitlines()]


def test_everything_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _shown(FOUND, capsys)
    for expected in (
        "llm weight 3, m[/] [1m, prompt hash 0123456789ab",
        "cold users 9 6 66.7% 2.50",
        "origin pairs share cold user other item",
        "near 2,000 100.0% 2.50 3.25",
        "0.000 0.250 1.000",
        f"0.1 to 0.2 50 28.6% {'█' * 20}",
        "ties within users -",
        "deviation of its answers 0.0625",
        "all 1,200 300 0.7500 0.7000 to 0.8000",
        "training events 1-3 1,200 300 0.7500 0.7000 to 0.8000",
        "the negative is more popular 1,200 300 0.7500 0.7000 to 0.8000",
        "score gap 0.000 to 0.500 1,200 300 0.7500 0.7000 to 0.8000",
        "USD per 1,000 pairs 0.25",
        "in the ledger: requests 4,321",
        "failed: refused 5",
        "problems: foreign 1",
        "stopped by max_usd",
    ):
        assert expected in lines


def test_without_scores(capsys: pytest.CaptureFixture[str]) -> None:
    empty = {**FOUND["coverage"], "origins": {}}
    found = {**FOUND, "coverage": empty, "distribution": None, "agreement": None}
    lines = _shown(found, capsys)
    assert "Cost and failures" in lines and "Coverage" in lines
    assert not any("origin" in line or "Distribution" in line for line in lines)
    assert lines[-1] == "No agreement: the table has no probes."
