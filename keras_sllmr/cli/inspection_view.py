"""What a score table holds, on the terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from keras_sllmr.cli.console import out
from keras_sllmr.evaluation.report.wording import number, printable
from keras_sllmr.evaluation.terminal import titled_table

_BAR = 40
_GROUPS = {
    "all": "all",
    "history": "training events",
    "popularity": "positive's popularity",
    "negative": "the negative is",
    "gap": "score gap",
}


def show_inspection(found: Mapping[str, Any]) -> None:
    """Prints all tables of an inspection.

    Args:
        found: from `inspect_table`.
    """
    tables = [_teacher(found), _coverage(found["coverage"])]
    if found["distribution"]:
        tables += [
            _origins(found["coverage"]["origins"]),
            _quantiles(found["distribution"]),
            _histogram(found["distribution"]),
            _figures(found["distribution"]),
        ]
    if found["agreement"]:
        tables.append(_agreement(found["agreement"]))
    tables.append(_cost(found["cost"], found["failures"]))
    for place, table in enumerate(tables):
        if place:
            out.print()
        out.print(table)
    if not found["agreement"]:
        out.print("\nNo agreement: the table has no probes.")


def _teacher(found: Mapping[str, Any]) -> Table:
    table = _named_values("Score table")
    for indent, weight, part in _parts(found["teacher"]):
        about = [
            printable(part[key])
            for key in ("model", "endpoint", "prompt")
            if key in part
        ]
        if part.get("prompt_hash"):
            about.append(f"prompt hash {printable(part['prompt_hash'])[:12]}")
        share = "" if weight is None else f"weight {weight:g}"
        name = "  " * indent + printable(part.get("name", "unnamed"))
        table.add_row(Text(name), Text(", ".join([*filter(None, [share]), *about])))
    for name in ("pairs", "missing", "imputed"):
        table.add_row(name, f"{found[name]:,}")
    table.add_row("share of all pairs", _percent(found["coverage"]["share"], 3))
    return table


def _parts(
    teacher: Mapping[str, Any], indent: int = 0, weight: float | None = None
) -> Iterator[tuple[int, float | None, Mapping[str, Any]]]:
    yield indent, weight, teacher
    parts = teacher.get("teachers", [])
    weights = teacher.get("weights") or [None] * len(parts)
    for part, share in zip(parts, weights, strict=True):
        yield from _parts(part, indent + 1, share)


def _coverage(coverage: Mapping[str, Any]) -> Table:
    table = titled_table("Coverage")
    table.add_column("slice")
    for name in ("number", "with a score", "share", "pairs each"):
        table.add_column(name, justify="right", no_wrap=True)
    for side in ("users", "items"):
        slices = list(coverage[side].items())
        for name, one in slices:
            table.add_row(
                f"{name} {side}",
                f"{one['number']:,}",
                f"{one['scored']:,}",
                _percent(one["share"]),
                f"{one['pairs_each']:.2f}",
                end_section=name == slices[-1][0],
            )
    return table


def _origins(origins: Mapping[str, Any]) -> Table:
    table = titled_table("Pairs by origin, and mean number each")
    slices = list(
        dict.fromkeys(name for one in origins.values() for name in one["each"])
    )
    of = {"cold": "cold user", "warm": "warm user", "tail": "tail item"}
    table.add_column("origin")
    for name in ("pairs", "share", *(of.get(name, f"{name} item") for name in slices)):
        table.add_column(name, justify="right")
    for origin, one in origins.items():
        table.add_row(
            Text(printable(origin)),
            f"{one['pairs']:,}",
            _percent(one["share"]),
            *(f"{one['each'][name]:.2f}" for name in slices),
        )
    return table


def _histogram(scores: Mapping[str, Any]) -> Table:
    counts = scores["histogram"]
    table = titled_table("Distribution of the scores")
    table.add_column("score", no_wrap=True)
    table.add_column("pairs", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    block = "#" if out.options.ascii_only else "█"
    for place, count in enumerate(counts):
        low, high = place / len(counts), (place + 1) / len(counts)
        bar = block * round(_BAR * count / max(counts))
        share = _percent(count / sum(counts))
        table.add_row(f"{low:.1f} to {high:.1f}", f"{count:,}", share, bar)
    return table


def _quantiles(scores: Mapping[str, Any]) -> Table:
    table = titled_table("Quantiles of the scores")
    for percent in scores["quantiles"]:
        table.add_column(f"{percent} %", justify="right", no_wrap=True)
    table.add_row(*(f"{value:.3f}" for value in scores["quantiles"].values()))
    return table


def _figures(scores: Mapping[str, Any]) -> Table:
    table = _named_values("Resolution of the scores")
    table.add_row("distinct values", f"{scores['distinct']:,}")
    for name, key in (("0", "share_0"), ("1/2", "share_half"), ("1", "share_1")):
        table.add_row(f"exactly {name}", _percent(scores[key]))
    table.add_row("ties within users", _percent(scores["ties"]))
    table.add_row("deviation within users", number(scores["std_within_users"]))
    if scores["averaged"]:
        table.add_row("of several answers", f"{scores['averaged']:,}")
        table.add_row("answers of such a score", f"{scores['answers']:.1f}")
        table.add_row("deviation of its answers", number(scores["spread"]))
    return table


def _agreement(agreement: Mapping[str, Any]) -> Table:
    table = titled_table("Agreement on probes: hidden positive scored above a negative")
    table.caption = Text(
        "A tie counts half. Interval: 95 %, over users. Chance is 0.5."
    )
    table.add_column("by", no_wrap=True)
    table.add_column("slice", no_wrap=True)
    for name in ("pairs", "users", "right", "interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for group, title in _GROUPS.items():
        rows = _slices(agreement[group])
        for place, (name, one) in enumerate(rows):
            table.add_row(
                title if place == 0 else "",
                name,
                f"{one['pairs']:,}",
                f"{one['users']:,}",
                number(one["accuracy"]),
                f"{number(one['low'])} to {number(one['high'])}",
                end_section=place == len(rows) - 1,
            )
    return table


def _slices(group: Any) -> list[tuple[str, Mapping[str, Any]]]:
    if isinstance(group, list):
        return [
            (f"{one['gap_low']:.3f} to {one['gap_high']:.3f}", one) for one in group
        ]
    if "accuracy" in group:
        return [("", group)]
    return [(name.replace("_", " "), one) for name, one in group.items()]


def _cost(cost: Mapping[str, Any], failures: Mapping[str, Any]) -> Table:
    table = _named_values("Cost and failures")
    for name, value in cost.items():
        if name != "ledger":
            table.add_row(Text(_title(name)), _amount(value))
    for name, value in (cost.get("ledger") or {}).items():
        if not isinstance(value, dict):
            table.add_row(Text(f"in the ledger: {_title(name)}"), _amount(value))
    for name, kinds in failures.items():
        if name != "stopped_by":
            for kind, count in kinds.items():
                table.add_row(Text(f"{name}: {printable(kind)}"), f"{count:,}")
    if failures["stopped_by"]:
        table.add_row("stopped by", Text(printable(failures["stopped_by"])))
    return table


def _title(name: str) -> str:
    if name == "pairs":
        return "pairs to score"
    words = printable(name).replace("_", " ")
    return words.replace("usd", "USD").replace("1000", "1,000")


def _amount(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _percent(share: float | None, digits: int = 1) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f}%"


def _named_values(title: str) -> Table:
    """A table of names and values."""
    table = titled_table(title)
    table.show_header = False
    table.add_column("name")
    table.add_column("value")
    return table
