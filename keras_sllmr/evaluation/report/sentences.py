"""What the terminal and the HTML report say about the methods in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_sllmr.evaluation.report.comparison import (
    AUC_METRICS,
    baseline,
    differences,
    labels,
    lead_method,
)
from keras_sllmr.evaluation.report.wording import (
    listed,
    printable,
    signed,
    slice_phrase,
)

HEADLINE_SLICES = ("all", "cold", "tail")
_VERDICTS = {
    "better": "better than",
    "worse": "worse than",
    "level": "level with",
}


def headline(metrics: Mapping[str, Any]) -> list[str]:
    """One honest sentence an AUC: where the method is better, level or worse.

    Example:
        >>> headline({
        ...     "methods": {"none": {"label": "None"}, "sllmr": {"label": "S-LLMR"}},
        ...     "differences": [
        ...         {"metric": "auc_full", "slice": "all", "method": "sllmr",
        ...          "baseline": "none", "difference": 0.01, "low": 0.005,
        ...          "high": 0.015, "level": 0.95, "users": 9}],
        ... })
        ['By auc_full, S-LLMR is better than None on all rows (+.0100).']
    """
    method, names, to = lead_method(metrics), labels(metrics), baseline(metrics)
    sentences = []
    for metric in AUC_METRICS:
        groups: dict[str, list[str]] = {said: [] for said in _VERDICTS}
        for one in differences(metrics):
            if (one.metric, one.method) != (metric, method):
                continue
            if one.slice in HEADLINE_SLICES:
                where = slice_phrase(one.slice)
                if one.verdict != "level":
                    where += f" ({signed(one.difference)})"
                groups[one.verdict].append(where)
        parts: list[str] = []
        for said, places in groups.items():
            if places:
                against = f"{_VERDICTS[said]} {names.get(to, printable(to))}"
                parts.append(f"{said if parts else against} on {listed(places)}")
        if parts:
            name = names.get(str(method), printable(method))
            sentences.append(f"By {metric}, {name} is {'; '.join(parts)}.")
    return sentences or ["No method was compared with the baseline in this run."]


def remarks(*groups: Mapping[str, Any]) -> list[str]:
    """Sentences on what a reader of the figures must know, if there are any.

    Args:
        *groups: runs' metrics, or groups of a comparison.

    Example:
        >>> remarks({"methods": {"kar": {"label": "KAR", "described": True}}})[0][:40]
        'What KAR reads was put together from the'
    """
    return [*_published(groups), *estimates(*groups), *_described(groups)]


def _published(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    sources = dict.fromkeys(
        printable(group["published"]) for group in groups if group.get("published")
    )
    return [f"In parentheses: {listed(list(sources))}."] if sources else []


def _described(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    by_label: dict[str, None] = {}
    for group in groups:
        names = labels(group)
        for name, method in (group.get("methods") or {}).items():
            if method.get("described"):
                by_label[names[name]] = None
    if not by_label:
        return []
    read = "reads" if len(by_label) == 1 else "read"
    return [
        (
            f"What {listed(list(by_label))} {read} was put together from the items' texts, "
            "not written by a language model."
        )
    ]


def estimates(*groups: Mapping[str, Any]) -> list[str]:
    """A sentence on the methods whose `auc_full` is estimated, if there are any.

    Args:
        *groups: runs' metrics, or groups of a comparison.

    Example:
        >>> estimates({"methods": {"llm_cf": {"label": "LLM-CF", "full_sample": 100}}})
        ['auc_full of LLM-CF is an estimate, from 100 drawn items a test row.']
    """
    by_size: dict[int, dict[str, None]] = {}
    for group in groups:
        names = labels(group)
        for name, method in (group.get("methods") or {}).items():
            if method.get("full_sample"):
                by_size.setdefault(method["full_sample"], {})[names[name]] = None
    return [
        f"auc_full of {listed(list(names))} is an estimate, from {size} drawn items a "
        "test row."
        for size, names in by_size.items()
    ]
