import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.settings import settings_of
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.training import trials as trials_module
from keras_sllmr.training import tuning
from keras_sllmr.training.settings import TrainSettings
from keras_sllmr.training.trained_model import TrainedModel
from keras_sllmr.training.trials import trial_rows
from keras_sllmr.training.tuning import Tuned, default_space, tune

RATE: dict[str, Any] = {
    "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "batch.rows": {"choices": [40, 80]},
}


def _settings(**values: Any) -> TrainSettings:
    given = {
        "epochs": 1,
        "batch": {"rows": 80},
        "backbone": {
            "text": False,
            "history_length": 4,
            "hyperparameters": {"embedding_dim": 4, "dnn_hidden_units": [8]},
        },
    }
    return settings_of(TrainSettings, given | values, "train")


class _Fit:
    """In the place of `train`: an AUC an epoch, which the learning rate decides."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.die_after: int | None = None

    def __call__(
        self, method: str, split: Any, path: Path, *, settings: Any, **given: Any
    ) -> Any:
        self.rates.append(settings.learning_rate)
        (callback,) = given["callbacks"](0, 1)
        path.mkdir(exist_ok=True)
        if len(self.rates) == self.die_after:
            raise KeyboardInterrupt
        if settings.learning_rate > 0.03:
            raise ConfigError("Training diverged")
        epochs = []
        for epoch in range(settings.epochs):
            value = 0.8 - abs(settings.learning_rate - 0.01) * (1 + epoch)
            epochs.append({"val_auc_sampled": value})
            callback.on_epoch_end(epoch, epochs[-1])
        return type("Trained", (), {"history": {"epochs": epochs}})


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Fit]:
    stand_in = _Fit()
    monkeypatch.setattr(tuning, "train", stand_in)
    yield stand_in


def _tried(study: optuna.Study) -> list[Any]:
    return [(row["state"], row["value"], row["settings"]) for row in trial_rows(study)]


@pytest.mark.usefixtures("eagerly")
def test_a_search_of_the_method(
    tmp_path: Path, world: Any, scores_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of real trainings, without a look at the test split."""

    def looked(split: LeaveOneOut) -> None:
        raise AssertionError("the test split was read")

    monkeypatch.setattr(LeaveOneOut, "test", property(looked))
    level = optuna.logging.get_verbosity()
    settings = _settings(selective={"regularizer": "pairwise"}, batch={"rows": 160})
    seen: list[tuple[int, int]] = []

    def search(name: str) -> Tuned:
        return tune(
            "sllmr",
            world.split,
            tmp_path / name,
            settings=settings,
            trials=2,
            scores=scores_of("right"),
            progress=lambda done, trials: seen.append((done, trials)),
        )

    found = search("search")
    assert seen == [(0, 2), (1, 2)] and optuna.logging.get_verbosity() == level
    first, second = rows = trial_rows(found.study)
    assert [row["state"] for row in rows] == ["done", "done"]
    # The first is of the settings given, with the λ that is in force.
    assert first["settings"]["selective"] == {
        **settings.model_dump(mode="json")["selective"],
        "weight": 0.1,
    }
    space = default_space("sllmr", settings)
    given = found.study.trials[0].params
    assert set(given) == set(space) and given["selective.max_pairs"] is None
    assert 0.03 <= second["settings"]["selective"]["weight"] <= 3
    best = max(rows, key=lambda row: row["value"])
    assert best["best"] and found.study.best_value == best["value"]
    assert best["value"] >= first["value"] and best["seconds"] > 0
    assert found.settings.model_dump(mode="json") == best["settings"]

    folder = tmp_path / "search"
    assert [path.name for path in folder.glob("trials/[!.]*")] == [
        f"000{best['trial']}"
    ]
    model = TrainedModel(folder / "trials" / f"000{best['trial']}")
    assert model.history["epochs"][0]["val_auc_sampled"] == best["value"]
    section = yaml.safe_load((folder / "best.yaml").read_text())
    assert section["name"] == "tuned"
    assert settings_of(TrainSettings, section["train"], "train") == found.settings
    with open(folder / "trials.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert [float(row["value"]) for row in written] == [row["value"] for row in rows]
    assert json.loads(written[1]["settings"]) == second["settings"]
    tried = float(written[1]["selective.weight"])
    assert tried == second["settings"]["selective"]["weight"]

    assert _tried(search("again").study) == _tried(found.study)


def test_another_seed_tries_others(tmp_path: Path, world: Any, fit: _Fit) -> None:
    for seed in (0, 1):
        folder, settings = tmp_path / str(seed), _settings()
        given: dict[str, Any] = {"settings": settings, "space": RATE, "trials": 3}
        tune("none", world.split, folder, seed=seed, **given)
    assert fit.rates[0] == fit.rates[3] and len(set(fit.rates)) == 5


def test_a_killed_search_goes_on_as_if_it_had_not_been(
    tmp_path: Path, world: Any, fit: _Fit
) -> None:
    def search(name: str, trials: int = 14) -> optuna.Study:
        return tune(
            "none",
            world.split,
            tmp_path / name,
            settings=_settings(epochs=3),
            space=RATE,
            trials=trials,
        ).study

    whole = _tried(search("whole"))
    rates, fit.rates = fit.rates, []
    assert len(rates) == 14 and rates[0] == 1e-3
    assert {state for state, *_ in whole} == {"done", "pruned", "failed"}
    # After the random trials (10) as well, when the estimator looks at those before.
    for died in (1, 5, 14):  # calls; each death costs one more
        fit.die_after = died
        with pytest.raises(KeyboardInterrupt):
            search("killed")
    fit.die_after = None
    study = search("killed")
    assert _tried(study) == whole
    assert [*dict.fromkeys(fit.rates)] == rates
    states = [trial.state for trial in study.trials]
    assert len(states) == 17 and TrialState.RUNNING not in states
    # Nothing is left to do; more trials go on.
    made = len(fit.rates)
    assert _tried(search("killed")) == whole and len(fit.rates) == made
    assert _tried(search("killed", 15))[:14] == whole and len(fit.rates) == made + 1


def test_a_dead_trials_epochs_are_reported(
    tmp_path: Path, world: Any, fit: _Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its training goes on from a checkpoint, so that they are not trained again."""
    given: dict[str, Any] = {
        "settings": _settings(epochs=3),
        "space": RATE,
        "trials": 1,
    }
    values = [0.6, 0.7, 0.5]

    def dies(method: str, split: Any, path: Path, **given: Any) -> Any:
        (callback,) = given["callbacks"](0, 1)
        for epoch in (0, 1):
            callback.on_epoch_end(epoch, {"val_auc_sampled": values[epoch]})
        raise KeyboardInterrupt

    def goes_on(method: str, split: Any, path: Path, **given: Any) -> Any:
        (callback,) = given["callbacks"](2, 1)
        callback.on_epoch_end(2, {"val_auc_sampled": values[2]})
        history = {"epochs": [{"val_auc_sampled": value} for value in values]}
        return type("Trained", (), {"history": history})

    monkeypatch.setattr(tuning, "train", dies)
    with pytest.raises(KeyboardInterrupt):
        tune("none", world.split, tmp_path / "search", **given)
    monkeypatch.setattr(tuning, "train", goes_on)
    (row,) = trial_rows(tune("none", world.split, tmp_path / "search", **given).study)
    assert (row["value"], row["best_epoch"], row["epochs"]) == (0.7, 2, 3)


def test_the_best_of_all_kinds_of_ends(tmp_path: Path, world: Any, fit: _Fit) -> None:
    study = tune(
        "none",
        world.split,
        tmp_path / "search",
        settings=_settings(epochs=3),
        space=RATE,
        trials=14,
        keep="all",
    ).study
    rows = trial_rows(study)
    done = [row for row in rows if row["state"] == "done"]
    (best,) = [row for row in rows if row["best"]]
    assert best["value"] == max(row["value"] for row in done) >= rows[0]["value"]
    for row in rows:
        if row["state"] == "failed":
            assert row["error"] == "ConfigError: Training diverged"
            assert row["settings"]["learning_rate"] > 0.03 and row["value"] is None
        elif row["state"] == "pruned":
            assert row["epochs"] >= 2  # never after the first
        else:
            assert row["epochs"] == 3
    kept = sorted(int(path.name) for path in (tmp_path / "search/trials").glob("[!.]*"))
    assert kept == [row["trial"] for row in done]


def test_what_ends_a_search(tmp_path: Path, world: Any, fit: _Fit) -> None:
    folder = tmp_path / "search"

    def search(**given: Any) -> Any:
        values = {"settings": _settings(), "space": RATE, "trials": 1} | given
        return tune("none", world.split, folder, **values)

    with pytest.raises(ConfigError, match="`trials` must be at least 1. Received: tri"):
        search(trials=0)
    with pytest.raises(StoreError, match="needs a score table"):
        tune("sllmr", world.split, folder, settings=_settings())
    assert not folder.exists()
    diverges = _settings(learning_rate=0.05)
    with pytest.raises(
        ConfigError, match="No trial.*Received: ConfigError: Training d"
    ):
        search(settings=diverges)
    with pytest.raises(ConfigError, match="holds a search with another"):
        search(seed=1)
    (folder / trials_module.STUDY).write_bytes(b"no database, but of some length" * 99)
    with pytest.raises(StoreError, match="cannot be opened as a study"):
        search(settings=diverges)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"learning_rat": {"choices": [1]}}, "train.learning_rat: Extra inputs"),
        ({"backbone.columns.x": {"choices": [1]}}, "through sections to a setting"),
        (
            {"learning_rate": {"low": -1, "high": 1}},
            "train.learning_rate: Input should",
        ),
        ({"selective.weight": {"low": 1}}, "tune.selective.weight.range.high: Field"),
        ({"selective.weight": {"choices": []}}, "choices: Tuple should have at least"),
        ({"selective.weight": 3}, "tune.selective.weight.range: Input should be"),
    ],
)
def test_wrong_spaces_name_the_setting(
    tmp_path: Path, world: Any, space: Any, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        tune("none", world.split, tmp_path / "s", settings=_settings(), space=space)
    assert not (tmp_path / "s").exists()


def test_default_spaces_hold_what_the_regularizer_uses() -> None:
    def names(**selective: Any) -> list[str]:
        space = default_space("sllmr", _settings(selective=selective))
        return [name.rpartition(".")[2] for name in space]

    assert names() == ["weight", "guidance_users", "uncertainty"]
    pairwise = ["weight", "margin", "max_pairs", "uncertainty"]
    assert names(regularizer="pairwise") == pairwise
    assert names(regularizer="pairwise", signals=["cold"]) == pairwise[:3]
    assert names(regularizer="pointwise") == ["weight", "guidance_users"]
    assert list(default_space("none", _settings())) == [
        "learning_rate",
        "backbone.hyperparameters.dnn_dropout",
    ]
