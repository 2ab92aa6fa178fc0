"""What the terminal and the HTML report say about the methods, in numbers and words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from keras_sllmr.evaluation.verdict import LOWER_IS_BETTER, verdict

BASELINE = "none"
AUC_METRICS = ("auc_sampled", "auc_full")
# What a method has by name that is no metric by slice.
_NOT_METRICS = frozenset({"calibration", "spread", "published"})

# As a row's title, and inside a sentence.
_SLICES = {
    "all": ("all", "all rows"),
    "cold": ("cold", "cold users"),
    "tail": ("tail", "long-tail items"),
    "tail_rows": ("tail rows", "long-tail rows"),
}
HEADLINE_SLICES = ("all", "cold", "tail")
_VERDICTS = {
    "better": "better than",
    "worse": "worse than",
    "level": "level with",
}


@dataclass(frozen=True)
class Difference:
    """A method minus a baseline on one metric and slice, with its interval."""

    metric: str
    slice: str
    method: str
    baseline: str
    difference: float
    low: float
    high: float
    level: float
    users: int
    by_seed: Sequence[float] = ()
    p_value: float | None = None

    @property
    def verdict(self) -> str:
        """`better` or `worse` when the interval excludes zero, else `level`."""
        return verdict(self.metric, self.low, self.high)

    @property
    def interval(self) -> str:
        """Its bounds, such as `[+.0050, +.0150]`."""
        return f"[{signed(self.low)}, {signed(self.high)}]"

    def __str__(self) -> str:
        return f"{signed(self.difference)} {self.interval}"


@dataclass(frozen=True)
class ComparisonRow:
    """One metric on one slice: every method's value, and what it differs by."""

    metric: str
    slice: str
    rows: int | None
    users: int | None
    values: dict[str, float | None]
    differences: dict[str, Difference]
    spread: dict[str, float | None] = field(default_factory=dict)
    published: dict[str, float | None] = field(default_factory=dict)

    @property
    def best(self) -> str | None:
        """The method with the best value, if it is better than the baseline."""
        known = {name: v for name, v in self.values.items() if v is not None}
        if not known:
            return None
        choose = min if self.metric in LOWER_IS_BETTER else max
        best = choose(known, key=lambda name: known[name])
        one = self.differences.get(best)
        return best if one is not None and one.verdict == "better" else None


def baseline(metrics: Mapping[str, Any]) -> str:
    """The method that the others are compared with."""
    found = [entry["baseline"] for entry in metrics.get("differences") or ()]
    return BASELINE if BASELINE in found or not found else str(found[0])


def labels(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Maps each method to its printable label, the baseline first."""
    methods = metrics.get("methods") or {}
    first = baseline(metrics)
    ordered = sorted(methods, key=lambda name: name != first)
    return {name: printable(methods[name].get("label") or name) for name in ordered}


def differences(metrics: Mapping[str, Any]) -> list[Difference]:
    """The differences to the baseline, in the order they were measured."""
    names, to = [field.name for field in fields(Difference)], baseline(metrics)
    return [
        Difference(**{name: entry[name] for name in names if name in entry})
        for entry in metrics.get("differences") or ()
        if entry["baseline"] == to
        and None not in (entry["difference"], entry["low"], entry["high"])
    ]


def comparison_rows(
    metrics: Mapping[str, Any], which: Sequence[str] = AUC_METRICS
) -> list[ComparisonRow]:
    """Lines up all methods on each metric and slice that any of them has.

    Args:
        metrics: the run's metrics.
        which: metric names, in the order of the rows. Default: both AUCs.

    Example:
        >>> rows = comparison_rows({
        ...     "slices": {"all": {"rows": 3, "users": 3}},
        ...     "methods": {"none": {"auc_full": {"all": 0.75}}},
        ... })
        >>> [(row.metric, row.slice, row.rows, row.values) for row in rows]
        [('auc_full', 'all', 3, {'none': 0.75})]
    """
    methods = metrics.get("methods") or {}
    counts = metrics.get("slices") or {}
    found = differences(metrics)

    def aside(key: str, metric: str, slice_: str) -> dict[str, float | None]:
        kept = {name: methods[name].get(key) or {} for name in labels(metrics)}
        return {name: (of.get(metric) or {}).get(slice_) for name, of in kept.items()}

    rows = []
    for metric in which:
        measured = {name: methods[name].get(metric) or {} for name in labels(metrics)}
        for slice_ in dict.fromkeys(
            [*counts, *(s for m in measured.values() for s in m)]
        ):
            values = {name: measured[name].get(slice_) for name in measured}
            if all(value is None for value in values.values()):
                continue
            count = counts.get(slice_) or {}
            rows.append(
                ComparisonRow(
                    metric=metric,
                    slice=slice_,
                    rows=count.get("rows"),
                    users=count.get("users"),
                    values=values,
                    differences={
                        one.method: one
                        for one in found
                        if (one.metric, one.slice) == (metric, slice_)
                    },
                    spread=aside("spread", metric, slice_),
                    published=aside("published", metric, slice_),
                )
            )
    return rows


def metric_names(metrics: Mapping[str, Any]) -> list[str]:
    """Both AUCs, then whatever else was measured by slice."""
    measured = [
        key
        for method in (metrics.get("methods") or {}).values()
        for key, value in method.items()
        if isinstance(value, Mapping) and key not in _NOT_METRICS
    ]
    return list(dict.fromkeys([*AUC_METRICS, *measured]))


def levels(rows: Sequence[ComparisonRow]) -> str:
    """The confidence level of the rows' intervals, such as `95%`."""
    found = sorted({one.level for row in rows for one in row.differences.values()})
    return ", ".join(f"{100 * level:g}%" for level in found)


def lead_method(metrics: Mapping[str, Any]) -> str | None:
    """The method a headline is about: S-LLMR, else the last one that is compared."""
    compared = list(dict.fromkeys(one.method for one in differences(metrics)))
    if "sllmr" in compared:
        return "sllmr"
    return compared[-1] if compared else None


def places(metrics: Mapping[str, Any]) -> dict[str, int]:
    """Each method's place among the colours: the baseline, what leads, the rest.

    So S-LLMR looks the same whatever else was run.
    """
    lead, names, first = lead_method(metrics), list(labels(metrics)), baseline(metrics)
    ordered = sorted(names, key=lambda name: (name != first, name != lead))
    return {name: ordered.index(name) for name in names}


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


def metric_title(metric: str) -> str:
    """The metric as a table names it."""
    lower = " (lower is better)" if metric in LOWER_IS_BETTER else ""
    return printable(metric) + lower


def slice_title(slice_: str) -> str:
    """The slice as a table names it."""
    return _SLICES.get(slice_, (printable(slice_),) * 2)[0]


def slice_phrase(slice_: str) -> str:
    """The slice as a sentence names it."""
    return _SLICES.get(slice_, (printable(slice_),) * 2)[1]


def printable(text: object) -> str:
    """Text from outside, without the control characters that drive terminals."""
    return "".join(c if c.isprintable() else " " for c in str(text))


def number(value: float | None) -> str:
    """A metric with four decimals, as the field prints AUCs; a dash for none."""
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def signed(value: float) -> str:
    """A difference with its sign and without a leading zero.

    Example:
        >>> signed(0.012), signed(-0.5), signed(-0.00001), signed(1.5)
        ('+.0120', '-.5000', '+.0000', '+1.5000')
    """
    # Adding zero turns a rounded -0.0 into 0.0.
    text = f"{round(value, 4) + 0.0:+.4f}"
    return text[0] + text[2:] if text[1] == "0" else text


def seconds(value: float) -> str:
    """Wall time for people.

    Example:
        >>> seconds(1.23), seconds(75), seconds(7261)
        ('1.2 s', '1 min 15 s', '2 h 01 min')
    """
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def listed(items: Sequence[str]) -> str:
    """Things in a sentence: commas, and an `and` before the last."""
    if len(items) == 1:
        return items[0]
    return ", ".join(items[:-1]) + " and " + items[-1]
