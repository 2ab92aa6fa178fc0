"""The model card of an export: what it is, what it was made from, how good it is."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from keras_sllmr.evaluation.report.comparison import metric_names

CARD_FILE = "MODEL_CARD.md"


def model_card(manifest: Mapping[str, Any]) -> str:
    """A model card in Markdown, from an export's manifest alone.

    What the manifest lacks (the trained model, its metrics) the card says to be unknown.

    Args:
        manifest: see `export_manifest`.

    Example:
        >>> print(model_card(export_manifest("saved_models/beauty/1"))) # doctest: +SKIP
        # beauty, version 1
        …

    Source:
        Mitchell et al., Model cards for model reporting, FAT* 2019.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["listed"] = _listed
    model = manifest["model"] or {}
    settings = model.get("settings", {})
    history = model.get("history", {})
    metrics = manifest["metrics"] or {}
    differences = metrics.get("differences", [])
    source = manifest["store"].get("parent", {})
    return environment.get_template("model_card.md").render(
        **{
            key: manifest[key] for key in ("name", "version", "created", "code_version")
        },
        counts={"examples": 0, **manifest["counts"]},
        signatures=manifest["signatures"],
        versions=manifest["versions"],
        # What most models do not read is left out there.
        features={"user_index": 0, "examples": 0, **manifest["settings"]["features"]},
        estimate=metrics.get("full_sample"),
        store=manifest["store"],
        source=source.get("kind"),
        files=source.get("files", []),
        columns=", ".join(
            f"`{name}` ({entity}, {kind})"
            for entity, kinds in manifest["store"].get("columns", {}).items()
            for name, kind in kinds.items()
        ),
        method=settings.get("method"),
        train=settings.get("train"),
        best_epoch=history.get("best_epoch"),
        epochs=len(history.get("epochs", [])),
        teacher=_plain((manifest["run"] or {}).get("teacher") or ""),
        figures=list(_figures(metrics)),
        baseline=differences[0]["baseline"] if differences else None,
        level=differences[0]["level"] if differences else None,
        hashes=dict(_hashes(manifest)),
    )


def metrics_of(group: Mapping[str, Any], method: str) -> dict[str, Any]:
    """What a comparison says of one method.

    Args:
        group: one of `groups` in what `compare` gives, or a run's metrics.
        method: str.

    Returns:
        `figures`, by metric and slice; `slices`, their rows and users;
        `differences` from the baseline, if it is not the method itself; and
        `full_sample`, where `auc_full` is an estimate from so many items a row.
    """
    found = group["methods"].get(method, {})
    sample = found.get("full_sample")
    figures = {
        name: found[name]
        for name in metric_names({"methods": {method: found}})
        if name in found
    }
    return {
        "figures": figures,
        "slices": group["slices"],
        "differences": [one for one in group["differences"] if one["method"] == method],
        **({} if sample is None else {"full_sample": sample}),
    }


def _figures(metrics: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    differences = {
        (one["metric"], one["slice"]): one for one in metrics.get("differences", [])
    }
    for metric, by_slice in metrics.get("figures", {}).items():
        for name, value in by_slice.items():
            counts = metrics.get("slices", {}).get(name, {})
            yield {
                "metric": metric,
                "slice": name,
                "rows": counts.get("rows", "-"),
                "users": counts.get("users", "-"),
                "value": _number(value),
                "difference": _difference(differences.get((metric, name))),
            }


def _difference(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    low, high = _number(found["low"], "+"), _number(found["high"], "+")
    return f"{_number(found['difference'], '+')} [{low}, {high}] {found['verdict']}"


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.4f}"


def _hashes(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "export", manifest["fingerprint"]
    parents = {**((manifest["model"] or {}).get("parent", {})), **manifest["parent"]}
    for name in ("model", "store", "scores", "text"):
        if parents.get(name):
            yield name, parents[name]


def _listed(tensors: Mapping[str, str]) -> str:
    return ", ".join(f"`{name}` {shape}" for name, shape in tensors.items())


def _plain(value: Any) -> str:
    """A nested value in one line of a table, without the characters of Markdown."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(x)}" for key, x in value.items())
    if isinstance(value, (list, tuple)):
        return "; ".join(map(_plain, value))
    return "".join(c if c.isprintable() and c not in "`|" else " " for c in str(value))
