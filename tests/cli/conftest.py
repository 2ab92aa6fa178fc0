import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from keras_sllmr.cli.main import main
from keras_sllmr.errors import EnvironmentProblem
from keras_sllmr.scoring.encoders import MiniLM
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.importers import read_tables

WORDS = [
    "red",
    "blue",
    "green",
    "soap",
    "brush",
    "lamp",
    "rope",
    "chair",
    "glove",
    "mint",
    "lemon",
    "rose",
]


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """A folder of Parquet tables: 80 users, 60 items, users like one word's items."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("source")
    texts = [f"{WORDS[i % 12]} {WORDS[(i * 5 + 1) % 12]}" for i in range(60)]
    rows = []
    for user in range(80):
        liked = [i for i in range(60) if i % 12 in (user % 12, (user + 3) % 12)]
        others = rng.permutation(60)[: 2 + user % 5]
        events = list(dict.fromkeys([*rng.permutation(liked)[:6], *others]))
        events = events[: 5 if user % 3 == 0 else None]
        rows += [(f"u{user:03d}", f"i{i:03d}", p) for p, i in enumerate(events)]
    columns = ["user_id", "item_id", "position"]
    pd.DataFrame(rows, columns=columns).to_parquet(folder / "interactions.parquet")
    items = pd.DataFrame(
        {
            "item_id": [f"i{i:03d}" for i in range(60)],
            "text": texts,
            "attributes": [[i % 12, 20 + i % 7] for i in range(60)],
        }
    )
    items.to_parquet(folder / "items.parquet")
    return folder


@pytest.fixture
def small_run(tmp_path, source):
    """A run's YAML file that takes seconds."""
    config = {
        "name": "small",
        "seed": 1,
        "import": {"format": "tables", "path": str(source)},
        "score": {"candidates": {"popular_pool": 20, "near_pool": 20, "near": 3}},
        "train": {
            "epochs": 2,
            "batch": {"rows": 32},
            "backbone": {"hyperparameters": {"embedding_dim": 8}},
        },
        "evaluate": {"compare": {"replicates": 50}},
        "export": {"folder": str(tmp_path / "saved_models")},
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def needs_the_encoder():
    """Skips where the embedded encoder cannot be had."""
    try:
        MiniLM()
    except EnvironmentProblem as error:
        pytest.skip(str(error))


def sllmr(*arguments, monkeypatch, capsys):
    """Runs `sllmr` in this process: exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["sllmr", *map(str, arguments)])
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def run_sllmr(monkeypatch, capsys):
    return lambda *arguments: sllmr(*arguments, monkeypatch=monkeypatch, capsys=capsys)


@pytest.fixture(scope="session")
def store(tmp_path_factory, source):
    path = tmp_path_factory.mktemp("stores") / "small"
    return FeatureStore.create(path, read_tables(source)).path
