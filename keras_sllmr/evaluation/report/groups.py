"""What the report of a comparison says about its groups, in numbers and words.

A group is a backbone on a domain, and has the shape of a run's metrics.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from keras_sllmr.evaluation.report.comparison import (
    AUC_METRICS,
    baseline,
    differences,
    labels,
    lead_method,
)
from keras_sllmr.evaluation.report.sentences import HEADLINE_SLICES, headline
from keras_sllmr.evaluation.report.wording import listed, printable, slice_phrase

VERDICTS = ("better", "level", "worse")
_CORRECTIONS = {
    "max-t": "simultaneous over all groups and methods of a metric and slice (max-t)"
}


def groups_of(comparison: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The groups of a comparison."""
    return list(comparison.get("groups") or ())


def backbone(group: Mapping[str, Any]) -> str:
    """What a figure or a table calls a group within its domain."""
    return printable(group.get("backbone") or "model")


def by_domain(comparison: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """The groups of each domain, both in the order they came."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for group in groups_of(comparison):
        found.setdefault(printable(group.get("domain") or "data"), []).append(group)
    return found


def merged(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """All groups as one, for what asks which methods and slices there are."""
    groups = groups_of(comparison)
    return {
        "methods": {
            name: method
            for group in reversed(groups)
            for name, method in (group.get("methods") or {}).items()
        },
        "slices": {
            name: count
            for group in groups
            for name, count in (group.get("slices") or {}).items()
        },
        "differences": [
            one for group in groups for one in group.get("differences") or ()
        ],
    }


def verdicts(
    comparison: Mapping[str, Any],
) -> dict[tuple[str, str], dict[str, Counter[str]]]:
    """In how many groups each method is better, level or worse than the baseline.

    Returns:
        By (metric, slice), then by method.

    Example:
        >>> one = {"metric": "auc_full", "slice": "all", "method": "sllmr",
        ...        "baseline": "none", "difference": 0.02, "low": 0.01, "high": 0.03,
        ...        "level": 0.95, "users": 9}
        >>> found = verdicts({"groups": [{"differences": [one]}] * 2})
        >>> found["auc_full", "all"]["sllmr"]
        Counter({'better': 2})
    """
    found: dict[tuple[str, str], dict[str, Counter[str]]] = {}
    for group in groups_of(comparison):
        for one in differences(group):
            of_methods = found.setdefault((one.metric, one.slice), {})
            of_methods.setdefault(one.method, Counter())[one.verdict] += 1
    return found


def comparison_headline(comparison: Mapping[str, Any]) -> list[str]:
    """An honest sentence an AUC, and what its `better` means."""
    groups, whole = groups_of(comparison), merged(comparison)
    if len(groups) < 2:
        return [*headline(whole), *_meaning(comparison)]
    names, to, method = labels(whole), baseline(whole), str(lead_method(whole))
    who, against = names.get(method, printable(method)), names.get(to, printable(to))
    found, sentences = verdicts(comparison), []
    for metric in AUC_METRICS:
        parts: list[str] = []
        for name in HEADLINE_SLICES:
            count = found.get((metric, name), {}).get(method)
            if count:
                noun = "" if parts else " groups"
                parts.append(f"on {slice_phrase(name)} in {_share(count, noun)}")
        if parts:
            where = listed(parts)
            sentences.append(f"By {metric}, {who} is better than {against} {where}.")
    return [*(sentences or headline({})), *_meaning(comparison)]


def _share(count: Counter[str], noun: str) -> str:
    total, better = count.total(), count["better"]
    of = f"all {total}" if better == total else f"{better or 'none'} of {total}"
    rest = [f"{v} in {count[v]}" for v in VERDICTS[1:] if count[v]]
    return of + noun + (f" ({listed(rest)})" if rest else "")


def _meaning(comparison: Mapping[str, Any]) -> list[str]:
    if not merged(comparison)["differences"]:
        return []
    how = f"{level(comparison)} interval, {corrected(comparison)}"
    return [f"Better and worse: the {how}, excludes zero. Level: it does not."]


def level(comparison: Mapping[str, Any]) -> str:
    """The confidence level, such as `95%`."""
    return f"{100 * float(comparison.get('level') or 0.95):g}%"


def corrected(comparison: Mapping[str, Any]) -> str:
    """How the intervals are corrected for being many."""
    how = comparison.get("corrected")
    if not how:
        return "not corrected for the number of differences"
    return _CORRECTIONS.get(str(how), f"corrected for their number ({printable(how)})")
