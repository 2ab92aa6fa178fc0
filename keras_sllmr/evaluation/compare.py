"""Paired comparisons of many results: means over seeds, intervals, tests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from pydantic import Field

from keras_sllmr.errors import ConfigError
from keras_sllmr.evaluation.delong import delong, holm
from keras_sllmr.evaluation.metrics import Values, calibrated, metric_values
from keras_sllmr.evaluation.result import Result
from keras_sllmr.evaluation.simultaneous import max_t_intervals
from keras_sllmr.evaluation.verdict import verdict
from keras_sllmr.settings import Settings

Group: TypeAlias = dict[str, Any]
_SEED_DRAWS = 777


class CompareSettings(Settings):
    """How results are compared.

    Args:
        baseline: str. The method that all others are compared with.
        level: float. Of the confidence intervals.
        replicates: int. Bootstrap replicates.
        seeds: `resampled`, so that intervals are also about the next training run; or
            `fixed`, about these runs alone.
        seed: int. Of the draws.
    """

    baseline: str = "none"
    level: float = Field(0.95, gt=0, lt=1)
    replicates: int = Field(1000, ge=1)
    seeds: Literal["resampled", "fixed"] = "resampled"
    seed: int = 0


def compare(
    results: Sequence[Result],
    *,
    settings: CompareSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    r"""Compares every method with the baseline, by domain and backbone.

    A method's figure is the mean over its seeds that have the metric; a difference is
    the mean over those that both have, each model less the baseline of the same seed.
    Intervals come from draws of users that all results of a domain share, so the
    comparison is paired; with several seeds \(S\) they also draw \(S - 1\) of them,
    with replacement, which gives their mean its unbiased variance. They hold at once
    for all differences of a metric and slice, however many methods, backbones and
    domains, see `max_t_intervals`; slices and metrics are not corrected for.

    Args:
        results: At least one; those of a domain must be on the same rows.
        settings: Defaults to `CompareSettings()`.
        progress: Called with (results done, all results).

    Returns:
        `level`, `seeds`, `corrected`, `settings` and `groups`, one a domain and
        backbone: `slices` with their counts; `methods`, each with its `seeds`, its mean
        by metric and slice, `spread`, the standard deviation over seeds, `calibration` of
        its first seed and, where `auc_full` is an estimate, `full_sample`, the items that
        each test row was ranked against, and `described`, where no language model wrote
        the texts that it read; `differences`, with `by_seed`, a `verdict` (better or worse
        when the interval excludes zero, else level) and, for `auc_sampled`, `p_value`:
        DeLong's, adjusted by Holm for the same family.

    Raises:
        ConfigError: When results of a domain are on other rows.

    Source:
        Rao and Wu, Resampling inference with complex survey data, JASA 83 (1988), for
        the draws of seeds.
    """
    settings = settings or CompareSettings()
    _require_same_rows(results)
    values = {}
    for done, result in enumerate(results, start=1):
        values[result.identity] = metric_values(
            result, replicates=settings.replicates, seed=settings.seed
        )
        if progress:
            progress(done, len(results))
    groups: list[Group] = []
    pairs: list[_Pair] = []
    for members in _grouped(results):
        group, found = _group(members, values, settings, len(groups))
        groups.append(group)
        pairs += found
    families: dict[tuple[str, str], list[_Pair]] = defaultdict(list)
    for pair in pairs:
        families[pair.entry["metric"], pair.entry["slice"]].append(pair)
    for family in families.values():
        _correct(family, settings.level)
    return {
        "level": settings.level,
        "corrected": "max-t",
        "seeds": settings.seeds,
        "groups": groups,
        "settings": settings.model_dump(mode="json"),
    }


@dataclass(frozen=True)
class _Pair:
    """An entry of `differences`, and the draws [1 + replicates] its interval needs."""

    entry: dict[str, Any]
    draws: np.ndarray


def _require_same_rows(results: Sequence[Result]) -> None:
    if not results:
        raise ConfigError("There must be results to compare. Received: none")
    rows: dict[str, Result] = {}
    for result in results:
        domain = result.about["domain"]
        first = rows.setdefault(domain, result)
        if first.about["rows"] != result.about["rows"]:
            raise ConfigError(
                f"Results of the domain {domain!r} must be on the same test rows: the "
                "same store, and the same settings of the evaluation. Received: other "
                f"rows for {' '.join(map(str, first.identity[1:]))} and "
                f"{' '.join(map(str, result.identity[1:]))}. Evaluate them again "
                "together, or give one of them another domain."
            )


def _grouped(results: Sequence[Result]) -> list[dict[str, dict[Any, Result]]]:
    """For each domain and backbone: method to seed to result."""
    groups: dict[tuple[str, str], dict[str, dict[Any, Result]]] = {}
    for result in results:
        domain, backbone, method, seed = result.identity
        of_method = groups.setdefault((domain, backbone), {})
        of_method.setdefault(method, {})[seed] = result
    return list(groups.values())


def _group(
    members: dict[str, dict[Any, Result]],
    values: Mapping[tuple[Any, ...], Values],
    settings: CompareSettings,
    place: int,
) -> tuple[Group, list[_Pair]]:
    first = next(iter(next(iter(members.values())).values()))
    counts = first.counts()
    methods = {
        method: _method(method, list(of_seed.values()), values)
        for method, of_seed in members.items()
    }
    pairs = []
    for method, of_seed in members.items():
        if method == settings.baseline:
            continue
        base = members.get(settings.baseline, {})
        both = [(of_seed[seed], base[seed]) for seed in of_seed if seed in base]
        for metric, name, which, by_seed in _paired(both, values):
            weights = _seed_weights(len(by_seed), settings, place)
            draws = np.einsum("sr,sr->r", by_seed, weights)
            p_value = _delong(which, name) if metric == "auc_sampled" else None
            entry = {
                "metric": metric,
                "slice": name,
                "method": method,
                "baseline": settings.baseline,
                "difference": _plain(draws[0]),
                "by_seed": [_plain(value) for value in by_seed[:, 0]],
                "users": counts[name]["users"],
                "p_value": p_value,
            }
            pairs.append(_Pair(entry, draws))
    group = {
        "domain": first.about["domain"],
        "backbone": first.about["backbone"],
        "seeds": sorted({seed for of_seed in members.values() for seed in of_seed}),
        "slices": counts,
        "methods": methods,
        "differences": [pair.entry for pair in pairs],
    }
    return group, pairs


def _method(
    method: str,
    results: Sequence[Result],
    values: Mapping[tuple[Any, ...], Values],
) -> dict[str, Any]:
    """Means over the seeds, by metric and slice, and their standard deviation."""
    of_seeds = [values[result.identity] for result in results]
    means: dict[str, Any] = {}
    spread: dict[str, Any] = {}
    for metric in dict.fromkeys(m for found in of_seeds for m in found):
        having = [found[metric] for found in of_seeds if metric in found]
        for name in having[0]:
            observed = np.array([by_slice[name][0] for by_slice in having])
            means.setdefault(metric, {})[name] = _plain(observed.mean())
            if len(observed) > 1:
                deviation = _plain(observed.std(ddof=1))
                spread.setdefault(metric, {})[name] = deviation
    samples = [r.full_sample for r in results if r.full_sample is not None]
    return {
        **({"full_sample": min(samples)} if samples else {}),
        **({"described": True} if results[0].about.get("described") else {}),
        "label": results[0].about.get("label", method),
        "seeds": [result.about["seed"] for result in results],
        **means,
        "spread": spread,
        "calibration": calibrated(results[0]),
    }


def _paired(
    both: Sequence[tuple[Result, Result]],
    values: Mapping[tuple[Any, ...], Values],
) -> Iterator[tuple[str, str, list[tuple[Result, Result]], np.ndarray]]:
    """Metric, slice, the pairs that have it, differences [seeds, 1 + replicates]."""
    metrics = dict.fromkeys(m for ours, _ in both for m in values[ours.identity])
    for metric in metrics:
        having = [
            pair for pair in both if all(metric in values[r.identity] for r in pair)
        ]
        for name in values[having[0][0].identity][metric] if having else ():
            differences = [
                values[ours.identity][metric][name]
                - values[base.identity][metric][name]
                for ours, base in having
            ]
            yield metric, name, having, np.stack(differences)


def _seed_weights(seeds: int, settings: CompareSettings, place: int) -> np.ndarray:
    """The weight of each seed in each replicate, [seeds, 1 + replicates]."""
    weights = np.full((seeds, 1 + settings.replicates), 1 / seeds)
    if seeds > 1 and settings.seeds == "resampled":
        # The same for all methods and slices of a group: they share the baseline.
        rng = np.random.default_rng([settings.seed, _SEED_DRAWS, place, seeds])
        even = np.full(seeds, 1 / seeds)
        drawn = rng.multinomial(seeds - 1, even, size=settings.replicates)
        weights[:, 1:] = drawn.T / (seeds - 1)
    return weights


def _delong(both: Sequence[tuple[Result, Result]], name: str) -> float | None:
    mask = both[0][0].sampled()[name]
    labels = both[0][0].labels[mask]
    if min(labels.sum(), (1 - labels).sum()) < 2:
        return None
    ours, theirs = (
        np.stack([result.logits[mask] for result in side])
        for side in zip(*both, strict=True)
    )
    return delong(labels, ours, theirs).p_value


def _correct(family: Sequence[_Pair], level: float) -> None:
    """Adds the family's simultaneous intervals and adjusted p-values."""
    draws = np.stack([pair.draws for pair in family], axis=1)
    lows, highs = max_t_intervals(draws[0], draws[1:], level=level)
    known = [pair.entry["p_value"] for pair in family]
    adjusted = holm([np.nan if p is None else p for p in known])
    for pair, low, high, p in zip(family, lows, highs, adjusted, strict=True):
        pair.entry.update(
            low=_plain(low), high=_plain(high), level=level, p_value=_plain(p)
        )
        pair.entry["verdict"] = verdict(pair.entry["metric"], low, high)


def _plain(value: Any) -> float | None:
    """A float, or None for NaN, which JSON lacks."""
    return None if np.isnan(value) else float(value)
