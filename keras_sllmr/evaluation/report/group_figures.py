"""The figures of a comparison's report: gains by backbone, and by seed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from keras_sllmr.evaluation.report.comparison import (
    AUC_METRICS,
    Difference,
    baseline,
    differences,
    labels,
    lead_method,
    places,
)
from keras_sllmr.evaluation.report.gains import Category, Mark, gain_bars, seed_dots
from keras_sllmr.evaluation.report.groups import (
    backbone,
    by_domain,
    level,
    merged,
)
from keras_sllmr.evaluation.report.parts import Key, Panel, Section
from keras_sllmr.evaluation.report.sentences import HEADLINE_SLICES
from keras_sllmr.evaluation.report.svg import series
from keras_sllmr.evaluation.report.wording import printable, slice_phrase, slice_title

_SLICES_A_PANEL = 3


def _by_place(group: Mapping[str, Any]) -> dict[tuple[str, str, str], Difference]:
    return {(one.metric, one.slice, one.method): one for one in differences(group)}


def _figures(
    comparison: Mapping[str, Any], marks: Sequence[tuple[str, str, int]], metric: str
) -> Iterator[tuple[str, list[Category], str]]:
    """The categories of each domain that has any of the marks, and what they say.

    Args:
        comparison: the comparison.
        marks: (slice, method, series) of each.
        metric: the metric.
    """
    for domain, groups in by_domain(comparison).items():
        categories, told = [], []
        for group in groups:
            found = _by_place(group)
            ones = [found.get((metric, name, method)) for name, method, _ in marks]
            if not any(ones):
                continue
            at = [Mark(s, one) for one, (*_, s) in zip(ones, marks, strict=True)]
            categories.append(Category(backbone(group), at))
            known = (f"{slice_title(one.slice)} {one}" for one in ones if one)
            told.append(f"{backbone(group)}: {', '.join(known)}")
        if categories:
            yield domain, categories, "; ".join(told)


def _slice_sets(comparison: Mapping[str, Any]) -> list[list[str]]:
    names = list(merged(comparison)["slices"])
    first = [name for name in HEADLINE_SLICES if name in names]
    rest = [name for name in names if name not in first]
    starts = range(0, len(rest), _SLICES_A_PANEL)
    sets = [first, *(rest[at : at + _SLICES_A_PANEL] for at in starts)]
    return [names for names in sets if names]


def _note(comparison: Mapping[str, Any]) -> str:
    return (
        f"Whiskers: {level(comparison)} interval; a bar is pale where it includes zero."
    )


def _slice_keys(names: Sequence[str], glyph: str) -> list[Key]:
    return [Key(glyph, slice_title(name), at) for at, name in enumerate(names)]


def lead_gains(comparison: Mapping[str, Any]) -> Section:
    """The lead method's gain on each backbone and slice, after the paper's Figure 2."""
    whole = merged(comparison)
    names, lead, to = labels(whole), str(lead_method(whole)), baseline(whole)
    panels: list[Panel] = []
    for metric in AUC_METRICS:
        for number, slices in enumerate(_slice_sets(comparison)):
            marks = [(name, lead, at) for at, name in enumerate(slices)]
            for domain, categories, told in _figures(comparison, marks, metric):
                panels.append(
                    Panel(
                        title=f"{domain}: gain in {metric}",
                        note=_note(comparison),
                        svg=gain_bars(
                            f"gain-{metric}-{number}-{len(panels)}",
                            f"Bars of the gain in {metric} on {domain}: {told}",
                            categories,
                        ),
                        legend=_slice_keys(slices, "■"),
                    )
                )
    who, against = names.get(lead, printable(lead)), names.get(to, printable(to))
    return Section(f"Gain of {who} over {against}", panels=panels)


def method_gains(comparison: Mapping[str, Any]) -> Section:
    """Every method's gain on each backbone, a figure a slice; nothing for one method."""
    whole = merged(comparison)
    names, place, to = labels(whole), places(whole), baseline(whole)
    compared = [m for m in place if m in {one.method for one in differences(whole)}]
    panels: list[Panel] = []
    against = names.get(to, printable(to))
    title = f"Gain of every method over {against}"
    if len(compared) < 2:
        return Section(title)
    compared.sort(key=place.__getitem__)
    for metric in AUC_METRICS:
        for name in HEADLINE_SLICES:
            marks = [(name, method, place[method]) for method in compared]
            for domain, categories, told in _figures(comparison, marks, metric):
                panels.append(
                    Panel(
                        title=f"{domain}, {slice_phrase(name)}: gain in {metric}",
                        note=_note(comparison),
                        svg=gain_bars(
                            f"methods-{len(panels)}",
                            f"Bars of the gain in {metric} on {domain}, in the order "
                            f"of the legend: {told}",
                            categories,
                        ),
                        legend=[Key("■", names[m], series(place[m])) for m in compared],
                    )
                )
    return Section(title, panels=panels)


def seed_gains(comparison: Mapping[str, Any]) -> Section:
    """The lead method's gain of each seed; nothing where there is one seed."""
    whole = merged(comparison)
    names, lead = labels(whole), str(lead_method(whole))
    several = any(len(one.by_seed) > 1 for one in differences(whole))
    slices = [name for name in HEADLINE_SLICES if name in whole["slices"]]
    marks = [(name, lead, at) for at, name in enumerate(slices)]
    panels = [
        Panel(
            title=f"{domain}: gain in {metric} by seed",
            note="Ring: one seed. Diamond: the mean, with its "
            f"{level(comparison)} interval.",
            svg=seed_dots(
                f"seeds-{metric}-{at}",
                f"Dots of the gain in {metric} on {domain} for each seed; the "
                "values are in the table of every difference.",
                categories,
            ),
            legend=_slice_keys(slices, "◆"),
        )
        for metric in AUC_METRICS
        for at, (domain, categories, _) in enumerate(
            _figures(comparison, marks, metric) if several else ()
        )
    ]
    who = names.get(lead, printable(lead))
    return Section(f"Gain of {who} by seed", panels=panels)
