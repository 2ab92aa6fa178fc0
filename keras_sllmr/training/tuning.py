"""The search of hyper-parameters, on the validation split alone."""

import contextlib
import csv
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import yaml
from pydantic import TypeAdapter, ValidationError

from keras_sllmr.errors import ConfigError
from keras_sllmr.io.atomic import replace_file
from keras_sllmr.io.hashing import fingerprint
from keras_sllmr.io.lock import exclusive
from keras_sllmr.store.examples import Examples
from keras_sllmr.store.knowledge import Knowledge
from keras_sllmr.store.row_scores import RowScores
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors
from keras_sllmr.training.build import weight_of
from keras_sllmr.training.method_names import Method
from keras_sllmr.training.methods import method_named, with_fixed
from keras_sllmr.training.offline_inputs import OfflineInputs
from keras_sllmr.training.search_space import (
    Choices,
    Range,
    SearchSpace,
    value_of,
    with_values,
)
from keras_sllmr.training.settings import TrainSettings
from keras_sllmr.training.train import train
from keras_sllmr.training.trials import (
    Keep,
    Search,
    best_of,
    ended,
    open_study,
    trial_rows,
)

#: files of a search's folder.
TRIALS, BEST = "trials.csv", "best.yaml"


class Tuned(NamedTuple):
    """A search's result.

    Args:
        settings: of the trial with the best validation AUC.
        study: the `optuna.Study`, maximising the AUC.
    """

    settings: TrainSettings
    study: optuna.Study


_SHARED: SearchSpace = {
    "learning_rate": Range(low=1e-4, high=1e-2, log=True),
    "backbone.hyperparameters.dnn_dropout": Range(low=0.0, high=0.5, step=0.1),
}
_OWN: dict[str, SearchSpace] = {
    "kd": {
        "kd.weight": Range(low=0.03, high=1.0, log=True),
        "kd.temperature": Range(low=0.25, high=4.0, log=True),
    },
    "kar": {
        "kar.shared": Choices(choices=(2, 4)),
        "kar.dropout": Range(low=0.0, high=0.5, step=0.1),
    },
    "llm_cf": {"llm_cf.reconstruction": Range(low=0.1, high=3.0, log=True)},
}


def default_space(method: Method, settings: TrainSettings) -> SearchSpace:
    """What a method's search may choose from unless told: only what it uses.

    Args:
        method: one of `training.methods`.
        settings: names the regulariser and the gate's signals.

    Example:
        >>> list(default_space("none", TrainSettings()))
        ['learning_rate', 'backbone.hyperparameters.dnn_dropout']
        >>> list(default_space("sllmr", TrainSettings()))
        ['selective.weight', 'batch.guidance_users', 'selective.uncertainty']
    """
    if not method_named(method).guided:
        return _SHARED | _OWN.get(method, {})
    selective = with_fixed(method, settings).selective
    space: SearchSpace = {"selective.weight": Range(low=0.03, high=3.0, log=True)}
    if selective.regularizer == "pairwise":
        space["selective.margin"] = Range(low=0.1, high=2.0, log=True)
        space["selective.max_pairs"] = Choices(choices=(None, 8, 32, 128))
    else:
        space["batch.guidance_users"] = Choices(choices=(1, 2, 4))
    if "uncertainty" in selective.signals and selective.regularizer != "pointwise":
        measures = ("entropy", "confidence", "mc_dropout")
        space["selective.uncertainty"] = Choices(choices=measures)
    return space


def tune(
    method: Method,
    split: LeaveOneOut,
    folder: str | os.PathLike[str],
    *,
    settings: TrainSettings | None = None,
    space: Mapping[str, Any] | None = None,
    trials: int = 20,
    scores: ScoreTable | None = None,
    text: TextVectors | None = None,
    row_scores: RowScores | None = None,
    knowledge: Knowledge | None = None,
    examples: Examples | None = None,
    seed: int = 0,
    keep: Keep = "best",
    name: str = "tuned",
    progress: Callable[[int, int], None] | None = None,
) -> Tuned:
    """Searches the settings with the best validation AUC; the test split is not read.

    The first trial is of the given settings as they are, so that the best one is never
    worse than they are on validation. The others are chosen by a tree-structured Parzen
    estimator, and ended once the median of the trials so far was better at their
    epoch. A trial that raises, e.g. as it diverged, is a failed one. A search that was
    killed goes on with the trial and the epoch it was in, and one with fewer trials than
    asked for goes on with more; the same seed makes the same trials either way.

    The folder then holds all trials as Optuna's study in SQLite, and in `trials.csv`;
    the best one's settings for `sllmr train --config` in `best.yaml`; and its model in
    `trials`.

    Args:
        method: one of `training.methods`.
        split: the store's split.
        folder: folder of the search.
        settings: where it starts. Defaults to `TrainSettings()`.
        space: a `Range` or `Choices`, or a dict of their values, by the dotted name of a
            field of the settings. Defaults to `default_space(method, settings)`.
        trials: int ≥ 1. All trials, those of a search before included. Defaults to
            `20`.
        scores: as `train` takes it, as are the next four.
        text: of the items.
        row_scores: of the training rows.
        knowledge: of users and items.
        examples: with their chains of thought.
        seed: int. Of what is tried; `settings.seed` is of the training.
        keep: which models: `best` or `all`. Defaults to `best`.
        name: of the run in `best.yaml`.
        progress: called with (trials done, trials).

    Raises:
        ConfigError: on a wrong method, space, name or number of trials, if the folder
            holds another search, or when every trial failed.
        StoreError: when a table is missing, the folder cannot be written, or another
            process searches in it.

    Example:
        >>> from tempfile import mkdtemp
        >>> from keras_sllmr import FeatureStore, LeaveOneOut
        >>> from keras_sllmr.store.importers import read_movielens
        >>> folder = Path(mkdtemp())
        >>> store = FeatureStore.create(folder / "store", read_movielens())
        >>> tuned = tune(
        ...     "none", LeaveOneOut(store), folder / "search", trials=2,
        ...     settings=TrainSettings(epochs=1, backbone={"text": False}),
        ...     space={"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
        ... )
        >>> [row["state"] for row in trial_rows(tuned.study)]
        ['done', 'done']

    Reference:
        Bergstra et al., "Algorithms for hyper-parameter optimization", NeurIPS 2011;
        Akiba et al., "Optuna", KDD 2019.
    """
    if trials < 1:
        raise ConfigError(f"`trials` must be at least 1. Received: trials={trials}")
    settings = settings or TrainSettings()
    given = OfflineInputs(scores, text, row_scores, knowledge, examples)
    inputs = given.used(method, settings)
    chosen = _checked(space or default_space(method, settings), settings)
    if "selective.weight" in chosen and settings.selective.weight is None:
        weight = weight_of(settings.selective)
        settings = with_values(settings, {"selective.weight": weight})
    key = fingerprint(
        [
            method,
            split.store.fingerprint,
            inputs.fingerprints,
            settings.model_dump(mode="json"),
            {name: part.model_dump(mode="json") for name, part in chosen.items()},
            seed,
        ]
    )
    folder = Path(folder)
    with exclusive(folder), _quiet():
        study = open_study(folder, key)
        search = Search(study, folder / "trials", settings, chosen, seed, keep)
        search.give_up_running()
        for place in range(len(ended(study)), trials):
            if progress is not None:
                progress(place, trials)
            search.run(
                place,
                lambda path, tried, callback: (
                    train(
                        method,
                        split,
                        path,
                        settings=tried,
                        **inputs.tables,
                        callbacks=lambda done, steps: [callback],
                    ).history
                ),
                reference=method_named(method).guided,
            )
            _write_trials(study, chosen, folder / TRIALS)
        best = best_of(study)
        if best is None:
            raise ConfigError(
                f"No trial of {folder} came to an end. Received: "
                f"{ended(study)[0].user_attrs.get('error', 'only pruned trials')}"
            )
        found = TrainSettings.model_validate(best.user_attrs["settings"])
        with replace_file(folder / BEST) as beside:
            section = {"name": name, "train": found.model_dump(mode="json")}
            beside.write_text(yaml.safe_dump(section, sort_keys=False), "utf-8")
    return Tuned(found, study)


def _checked(space: Mapping[str, Any], settings: TrainSettings) -> SearchSpace:
    try:
        checked = TypeAdapter(SearchSpace).validate_python(dict(space))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, ['tune', *problem['loc']]))}: {problem['msg']}. "
            f"Received: {problem['input']!r}"
            for problem in error.errors()
        )
        raise ConfigError(problems) from error
    for name, part in checked.items():
        for value in part.ends:
            with_values(settings, {name: value})
    return checked


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's log lines and its warnings of experimental features."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="optuna")
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _write_trials(study: optuna.Study, space: SearchSpace, path: Path) -> None:
    rows = [
        {
            **{name: value for name, value in row.items() if name != "settings"},
            **{name: value_of(row["settings"], name) for name in space},
            "settings": json.dumps(row["settings"]),
        }
        for row in trial_rows(study)
    ]
    with replace_file(path) as beside, open(beside, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
