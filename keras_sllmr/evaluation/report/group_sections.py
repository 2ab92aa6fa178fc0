"""The sections of a comparison's report."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from keras_sllmr.evaluation.report.comparison import (
    AUC_METRICS,
    baseline,
    comparison_rows,
    differences,
    labels,
    metric_names,
)
from keras_sllmr.evaluation.report.group_figures import (
    lead_gains,
    method_gains,
    seed_gains,
)
from keras_sllmr.evaluation.report.groups import (
    VERDICTS,
    backbone,
    by_domain,
    corrected,
    groups_of,
    level,
    merged,
    verdicts,
)
from keras_sllmr.evaluation.report.parts import (
    MethodRow,
    MethodTable,
    Section,
    Table,
)
from keras_sllmr.evaluation.report.sections import methods_section
from keras_sllmr.evaluation.report.sentences import HEADLINE_SLICES, remarks
from keras_sllmr.evaluation.report.wording import (
    metric_title,
    printable,
    signed,
    slice_title,
)

_OTHER = "Other metrics and slices"
Groups = Sequence[Mapping[str, Any]]


def comparison_sections(comparison: Mapping[str, Any]) -> Iterator[Section]:
    """Yields every section; those that there is nothing for are false."""
    yield _verdicts(comparison)
    for domain, groups in by_domain(comparison).items():
        yield _table(comparison, domain, groups)
    yield lead_gains(comparison)
    yield method_gains(comparison)
    yield seed_gains(comparison)
    yield _reading(comparison)


def _verdicts(comparison: Mapping[str, Any]) -> Section:
    whole, found = merged(comparison), verdicts(comparison)
    names, to = labels(whole), baseline(whole)
    compared = list(dict.fromkeys(m for one in found.values() for m in one))
    rows: dict[bool, list[Sequence[str]]] = {True: [], False: []}
    for (metric, name), of in found.items():
        told = [
            " · ".join(f"{of[m][v]} {v}" for v in VERDICTS if of[m][v])
            if m in of
            else "-"
            for m in compared
        ]
        title = f"{printable(metric)}, {slice_title(name)}"
        rows[_is_main(metric, name)].append((title, *told))
    if len(groups_of(comparison)) < 2:
        return Section("Verdicts")
    caption = (
        f"Groups in which a method is better than {names.get(to, printable(to))}, "
        "level with it or worse"
    )
    columns = ("metric, slice", *(names.get(m, printable(m)) for m in compared))
    main, rest = (
        [Table(caption, columns, rows[which])] if rows[which] else []
        for which in (True, False)
    )
    return Section(
        "Verdicts", tables=main or rest, numbers=rest if main else (), summary=_OTHER
    )


def _is_main(metric: str, name: str) -> bool:
    return metric in AUC_METRICS and name in HEADLINE_SLICES


def _table(comparison: Mapping[str, Any], domain: str, groups: Groups) -> Section:
    whole = merged({"groups": groups})
    names, to = labels(merged(comparison)), baseline(merged(comparison))
    names = {name: names[name] for name in names if name in whole["methods"]}
    against = names.get(to, printable(to))
    caption = (
        f"With each value ± its standard deviation over seeds, its difference to "
        f"{against}, and the {level(comparison)} interval of that. Bold: the best of "
        f"its row, where it is better than {against}. n: test rows."
    )
    if len(groups) == 1:
        return methods_section(groups[0], f"{domain}, {backbone(groups[0])}", caption)
    caption = " ".join([caption, *remarks(*groups)])
    rows = [
        (backbone(group), row)
        for group in groups
        for row in comparison_rows(group, metric_names(group))
    ]
    bodies: dict[bool, list[tuple[str, list[MethodRow]]]] = {True: [], False: []}
    # By metric, then by slice, whichever group has them.
    metrics = metric_names(whole)
    found = dict.fromkeys((row.metric, row.slice) for _, row in rows)
    for metric, name in sorted(found, key=lambda place: metrics.index(place[0])):
        chosen = [
            one for one in rows if (one[1].metric, one[1].slice) == (metric, name)
        ]
        counts = {row.rows for _, row in chosen}
        same = counts.pop() if len(counts) == 1 else None
        heading = f"{metric_title(metric)}, {slice_title(name)}"
        if same is not None:
            heading += f", n = {same:,}"
        body = [
            MethodRow(title, row, row.rows if same is None else None)
            for title, row in chosen
        ]
        bodies[_is_main(metric, name)].append((heading, body))
    return Section(
        domain,
        methods=[
            MethodTable(caption, "backbone", names, to, bodies[main], summary)
            for main, summary in ((True, ""), (False, _OTHER))
            if bodies[main]
        ],
    )


def _every_difference(comparison: Mapping[str, Any]) -> list[Table]:
    names = labels(merged(comparison))
    return [
        Table(
            f"{domain}: differences",
            (
                "backbone",
                "metric",
                "slice",
                "method",
                "difference",
                "verdict",
                "users",
                "by seed",
                "DeLong p",
            ),
            rows,
        )
        for domain, groups in by_domain(comparison).items()
        if (
            rows := [
                (
                    backbone(group),
                    one.metric,
                    slice_title(one.slice),
                    names.get(one.method, printable(one.method)),
                    str(one),
                    one.verdict,
                    f"{one.users:,}",
                    ", ".join(map(signed, one.by_seed)) or "-",
                    _p_value(one.p_value),
                )
                for group in groups
                for one in differences(group)
            ]
        )
    ]


def _p_value(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"


def _reading(comparison: Mapping[str, Any]) -> Section:
    found = [one for group in groups_of(comparison) for one in differences(group)]
    if not found:
        return Section("How to read the intervals")
    several = any(len(one.by_seed) > 1 for one in found)
    seeds = {
        "resampled": "Users and seeds are both resampled: an interval speaks of other "
        "users, and of models trained anew.",
        "fixed": "Only users are resampled: an interval speaks of other users, and of "
        "these very trained models.",
    }.get(str(comparison.get("seeds")) if several else "fixed")
    at_once = (
        " With that probability those of a metric and slice all hold at once, however "
        "many groups and methods there are; metrics and slices are not corrected for."
        if comparison.get("corrected") == "max-t"
        else ""
    )
    paired = (
        "A group is a backbone on a domain. Its differences are paired: both methods "
        "are judged on the same test rows of the same users, seed by seed."
    )
    points = [
        paired,
        f"The intervals are at {level(comparison)}, {corrected(comparison)}.{at_once}",
        *([seeds] if seeds else []),
        "Level does not mean equal: the data do not tell which is better.",
    ]
    if any(one.p_value is not None for one in found):
        points.append(
            "DeLong's test is of auc_sampled alone and takes rows as independent; its "
            "p-values are corrected by Holm's method. The verdict is the interval's."
        )
    return Section(
        "How to read the intervals",
        points=points,
        numbers=_every_difference(comparison),
        summary="Every difference",
    )
