"""The methods of a run lined up: values, differences, what leads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from keras_sllmr.evaluation.report.wording import printable, signed
from keras_sllmr.evaluation.verdict import LOWER_IS_BETTER, verdict

BASELINE = "none"
AUC_METRICS = ("auc_sampled", "auc_full")
# What a method has by name that is no metric by slice.
_NOT_METRICS = frozenset({"calibration", "spread", "published"})


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
