"""The report's section on the teacher: how far to trust it, and what it scored."""

from collections.abc import Mapping
from typing import Any

from keras_sllmr.evaluation.report import plots
from keras_sllmr.evaluation.report.parts import Panel, Section, Table
from keras_sllmr.evaluation.report.wording import number, printable, slice_title


def teacher_section(metrics: Mapping[str, Any]) -> Section:
    """The teacher's reliability by score gap and slice, and its coverage."""
    teacher = metrics.get("teacher") or {}
    found = teacher.get("reliability") or {}
    bins, pairs = found.get("bins") or [], found.get("pairs", 0)
    panels, tables, numbers = [], [], []
    if any(one["pairs"] and one["accuracy"] is not None for one in bins):
        panels.append(
            Panel(
                title="Reliability",
                note=f"Share of pairs that the teacher orders as the user did, by how "
                f"far apart its two scores are; n = {pairs:,} pairs. Dashed: chance, "
                "0.5. Below: pairs in each bin. Points carry no interval.",
                svg=plots.reliability(
                    "reliability",
                    f"Accuracy of the teacher by score gap, overall "
                    f"{number(found.get('accuracy'))} on {pairs:,} pairs; the values "
                    "are in the table of numbers.",
                    bins,
                ),
            )
        )
        numbers.append(
            Table(
                "Reliability by score gap",
                ("gap", "mean gap", "pairs", "accuracy"),
                [
                    (
                        f"{number(one['gap_low'])} to {number(one['gap_high'])}",
                        number(one.get("gap")),
                        f"{one['pairs']:,}",
                        number(one["accuracy"]),
                    )
                    for one in bins
                ],
            )
        )
    if found.get("slices"):
        tables.append(
            Table(
                "Pairs ordered rightly, by slice",
                ("slice", "pairs", "accuracy"),
                [
                    (slice_title(key), f"{one['pairs']:,}", number(one["accuracy"]))
                    for key, one in found["slices"].items()
                ],
            )
        )
    tables += _coverage(teacher)
    name = printable(teacher.get("name", "unnamed"))
    intro = f"{name} scored {teacher.get('pairs', 0):,} (user, item) pairs"
    if teacher.get("coverage") is not None:
        intro += f", {100 * teacher['coverage']:.2f}% of all"
    if teacher.get("users") is not None:
        intro += f", of {teacher['users']:,} users"
    if teacher.get("missing"):
        intro += f"; {teacher['missing']:,} came back without a score"
    return Section(
        "Teacher", f"{intro}.", panels=panels, tables=tables, numbers=numbers
    )


def _coverage(teacher: Mapping[str, Any]) -> list[Table]:
    pairs = teacher.get("pairs")
    if not pairs:
        return []
    origins = {**(teacher.get("origins") or {}), "all": pairs}
    shares = [count / pairs for count in origins.values()]
    return [
        Table(
            "Scored pairs by origin",
            ("origin", "pairs", "share of the scores", "share of user × item"),
            [
                (
                    printable(origin),
                    f"{count:,}",
                    f"{100 * share:.1f}%",
                    f"{100 * share * (teacher.get('coverage') or 0):.3f}%",
                )
                for (origin, count), share in zip(origins.items(), shares, strict=True)
            ],
            shares,
        )
    ]
