"""The trials of a search: tried one after the other, and kept."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from keras_sllmr.compat import keras
from keras_sllmr.errors import ConfigError, EnvironmentProblem, StoreError
from keras_sllmr.training.search_space import SearchSpace, value_of, with_values
from keras_sllmr.training.settings import TrainSettings

STUDY = "study.sqlite"
_MONITOR = "val_auc_sampled"
_STATES = {"COMPLETE": "done", "PRUNED": "pruned", "FAIL": "failed"}

Keep = Literal["best", "all"]


def open_study(folder: Path, key: str) -> optuna.Study:
    """The study of a search's folder, a new one if there is none.

    Args:
        folder: of the search.
        key: str. Names the search: a study of another key is refused.

    Raises:
        ConfigError: when the study is another search's.
        StoreError: when it cannot be opened.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / STUDY
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{path}",
            study_name="tune",
            direction="maximize",
            # Not after the first epoch: guidance shows its worth later.
            pruner=optuna.pruners.MedianPruner(n_warmup_steps=1),
            load_if_exists=True,
        )
    except Exception as error:  # Optuna passes on whatever SQLAlchemy raises.
        raise StoreError(
            f"{path} cannot be opened as a study: {error}. Search in another folder."
        ) from error
    if study.user_attrs.setdefault("key", key) != key:
        raise ConfigError(
            f"{folder} holds a search with another method, settings, space, seed or "
            "data. Search in another folder, or remove it."
        )
    study.set_user_attr("key", key)
    return study


def trial_rows(study: optuna.Study) -> list[dict[str, Any]]:
    """The trials as plain values, in their order.

    Args:
        study: of `tune`.

    Returns:
        For each `trial`, its number; `state`: `done`, `pruned` or `failed`; `best`: is
        it the best one; `value`: its best epoch's validation AUC, if it has one;
        `best_epoch`, `epochs`, `seconds`, `error` and its `settings`.
    """
    best = best_of(study)
    rows = []
    for place, trial in enumerate(ended(study)):
        values = trial.intermediate_values
        done = trial.state == TrialState.COMPLETE
        top = max(values, key=lambda epoch: values[epoch]) if values else None
        rows.append(
            {
                "trial": place,
                "state": _STATES[trial.state.name],
                "best": best is not None and trial.number == best.number,
                # Optuna's value of a pruned trial is its last one.
                "value": trial.value if done else max(values.values(), default=None),
                "best_epoch": None if top is None else top + 1,
                "epochs": len(values),
                "seconds": trial.user_attrs["seconds"],
                "error": trial.user_attrs.get("error"),
                "settings": trial.user_attrs.get("settings", {}),
            }
        )
    return rows


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """The trials but for those that a dead process left behind."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        or (trial.state == TrialState.FAIL and "error" in trial.user_attrs)
    ]


def best_of(study: optuna.Study) -> FrozenTrial | None:
    """The first of the best trials that were not pruned."""
    done = [t for t in ended(study) if t.state == TrialState.COMPLETE]
    return max(done, key=lambda trial: trial.value or 0.0, default=None)


class Search:
    """Makes the trials of a study.

    Args:
        study: see `open_study`.
        models: folder of the trials' models.
        settings: those of the first trial.
        space: what the others choose from.
        seed: int. Of their choices.
        keep: which models: `best` or `all`.
    """

    def __init__(
        self,
        study: optuna.Study,
        models: Path,
        settings: TrainSettings,
        space: SearchSpace,
        seed: int,
        keep: Keep,
    ) -> None:
        self.study, self.models = study, models
        self.settings, self.space = settings, space
        self.seed, self.keep = seed, keep

    def give_up_running(self) -> None:
        """Fails the trials that a dead process left behind."""
        for trial in self.study.get_trials(states=[TrialState.RUNNING]):
            self.study.tell(trial.number, state=TrialState.FAIL)

    def run(
        self,
        place: int,
        fit: Callable[[Path, TrainSettings, Any], dict[str, Any]],
        *,
        reference: bool,
    ) -> None:
        """Makes one trial, whatever comes of it.

        Args:
            place: int. Its number among those that ended, from 0.
            fit: from the model's folder, the settings and a Keras callback to the
                history of a training.
            reference: bool. May `fit` train a reference model first?

        Raises:
            StoreError, EnvironmentProblem: as `fit` does; the trial is then unfinished.
        """
        # A sampler a trial: what is tried depends on the trials before, not on how many
        # of them this process made. So a trial of a dead one is tried again by itself.
        self.study.sampler = self._sampler(place)
        trial = self.study.ask()
        values = {
            name: part.suggest(trial, name)
            for name, part in self.space.items()
            if place or name in self._defaults()
        }
        trial.set_user_attr("place", place)
        for dead in self.study.get_trials(states=[TrialState.FAIL]):
            if dead.user_attrs.get("place") == place:
                # The training goes on from its checkpoint, after the epochs reported.
                for epoch, value in dead.intermediate_values.items():
                    trial.report(value, epoch)
        self.models.mkdir(exist_ok=True)
        path = self.models / f"{place:04d}"
        started, state = time.monotonic(), TrialState.COMPLETE
        result, error = None, ""
        try:
            tried = with_values(self.settings, values) if place else self.settings
            trial.set_user_attr("settings", tried.model_dump(mode="json"))
            history = fit(path, tried, _Report(trial, reference=reference))
            result = max(epoch[_MONITOR] for epoch in history["epochs"])
        except optuna.TrialPruned:
            state = TrialState.PRUNED
        except (StoreError, EnvironmentProblem):
            raise  # Not the settings' fault: the next trial would not fare better.
        except Exception as raised:  # noqa: BLE001 - whatever it is, others may do better
            state, error = TrialState.FAIL, f"{type(raised).__name__}: {raised}"
        trial.set_user_attr("seconds", round(time.monotonic() - started, 3))
        if error:
            trial.set_user_attr("error", error)  # Last: it tells it from a dead one.
        self.study.tell(trial, result, state=state)
        self._sweep()

    def _defaults(self) -> dict[str, Any]:
        """What the search may choose of the settings' own values."""
        given = self.settings.model_dump()
        values = {name: value_of(given, name) for name in self.space}
        return {n: value for n, value in values.items() if value in self.space[n]}

    def _sampler(self, place: int) -> optuna.samplers.BaseSampler:
        state = np.random.SeedSequence([self.seed, place]).generate_state(1)
        sampler = optuna.samplers.TPESampler(seed=int(state[0]))
        if place:
            return sampler
        return optuna.samplers.PartialFixedSampler(self._defaults(), sampler)

    def _sweep(self) -> None:
        """Removes the models and checkpoints that are not kept."""
        best = best_of(self.study)
        kept = {
            f"{trial.user_attrs['place']:04d}"
            for trial in self.study.get_trials(states=[TrialState.COMPLETE])
            if self.keep == "all" or (best and trial.number == best.number)
        }
        for path in self.models.iterdir():
            if path.name in kept:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


class _Report(keras.callbacks.Callback):
    """Tells a trial each epoch's AUC, and ends one that will not be the best."""

    def __init__(self, trial: optuna.Trial, *, reference: bool) -> None:
        super().__init__()
        self._trial, self._reference = trial, reference

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Some regularisers first train a plain reference model, with the same callbacks.
        if self._reference and not self.model.weight:
            return
        self._trial.report(float((logs or {})[_MONITOR]), epoch)
        if self._trial.should_prune():
            raise optuna.TrialPruned
