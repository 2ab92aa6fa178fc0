"""Every method from the command line: its offline inputs, training, a grid of all."""

import json

import numpy as np
import pytest
import yaml

from keras_sllmr.cli.config import DataConfig
from keras_sllmr.cli.grid import Grid
from keras_sllmr.cli.grid_config import Cell, load_grid
from keras_sllmr.evaluation.compare import CompareSettings, compare
from keras_sllmr.evaluation.report.sentences import remarks
from keras_sllmr.store.examples import Examples
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.knowledge import Knowledge
from keras_sllmr.store.row_scores import RowScores
from keras_sllmr.training.methods import METHODS

SMALL = {"backbone": {"hyperparameters": {"embedding_dim": 4}}, "batch": {"rows": 32}}


pytestmark = pytest.mark.usefixtures("needs_the_encoder")


@pytest.fixture(scope="module")
def grid(tmp_path_factory, source):
    """A grid of every method, its data made, none of its cells run."""
    config = {
        "name": "all",
        "domains": {
            "shop": {
                "import": {"path": source.name},
                "score": {"candidates": {"popular_pool": 20, "near_pool": 20}},
                "examples": {"share": 0.2, "sets": 2},
            }
        },
        "methods": list(METHODS),
        "full_seeds": [0],
        "train": {"epochs": 1, **SMALL, "llm_cf": {"width": 8, "hidden": 8}},
        "evaluate": {"full": True, "full_sample": 7, "compare": {"replicates": 50}},
    }
    folder = tmp_path_factory.mktemp("grid")
    (folder / "all.yaml").write_text(yaml.safe_dump(config))
    grid = Grid(load_grid(folder / "all.yaml", data=source.parent), folder / "all")
    grid.prepare()
    return grid


def test_prepared_once(grid):
    data = grid.folder / "data" / "shop"
    made = {path.name for path in data.iterdir() if path.is_dir()}
    offline = {"text", "scores", "row_scores", "knowledge", "examples"}
    assert made == {"store", "stages", *offline}
    told = []
    grid.prepare(lambda name, skipped: told.append((name, skipped)))
    assert len(told) == 6 and all(skipped for _, skipped in told)
    # Other settings of a stage make its table anew, and no other.
    changed = grid.config.domains["shop"].model_copy(
        update={"knowledge": DataConfig(knowledge={"share": 0.9}).knowledge}
    )
    other = Grid(
        grid.config.model_copy(update={"domains": {"shop": changed}}), grid.folder
    )
    told.clear()
    other.prepare(lambda name, skipped: told.append((name, skipped)))
    assert [name for name, skipped in told if not skipped] == ["shop: knowledge"]
    grid.prepare()


@pytest.mark.parametrize("method", ["kar", "llm_cf"])
def test_a_cell_of_each(grid, method):
    result = grid.run_cell(Cell("shop", "deepfm", method, 0))
    assert result.about["label"] == METHODS[method].label
    assert np.isfinite(result.logits).all()
    sampled = 7 if method == "llm_cf" else None
    assert result.about.get("full_sample") == sampled
    assert grid.result(Cell("shop", "deepfm", method, 0)) is not None
    (group,) = compare([result], settings=CompareSettings(baseline=method))["groups"]
    assert any(
        f"What {METHODS[method].label} reads was put together" in remark
        for remark in remarks(group)
    )


def test_what_a_cells_key_depends_on(grid):
    def keys(**changes):
        config = grid.config.model_copy(update=changes)
        other = Grid(config, grid.folder)
        return {m: other._key(Cell("shop", "deepfm", m, 0)) for m in METHODS}

    given = keys()
    assert len(set(given.values())) == len(METHODS)

    def changed(**changes):
        return {
            method for method, key in keys(**changes).items() if key != given[method]
        }

    train = grid.config.train
    assert changed(train={**train, "kd": {"weight": 0.7}}) == {"kd"}
    assert changed(train={**train, "selective": {"slope": 2}}) == {
        "sllmr",
        "global",
        "pointwise",
    }
    fewer = {**grid.config.evaluate, "full_sample": 9}
    assert changed(evaluate=fewer) == {"llm_cf"}


def test_commands(run_sllmr, tmp_path, store, grid):
    text = grid.folder / "data" / "shop" / "text"
    config = tmp_path / "run.yaml"
    sections = {
        "knowledge": {"share": 1.0},
        "examples": {"share": 0.2, "sets": 1, "k": 2, "history": 20},
        "row_scores": {"sets": 1},
        "train": {"epochs": 1, **SMALL},
    }
    config.write_text(yaml.safe_dump({"name": "run", **sections}))
    store_of_grid = grid.folder / "data" / "shop" / "store"

    def run(*arguments):
        code, out, err = run_sllmr(*arguments, "--config", config, "--json")
        assert code == 0, err
        return json.loads(out)

    found = run(
        "score", "rows", store_of_grid, "--text", text, "--to", tmp_path / "rows"
    )
    opened = FeatureStore(store_of_grid)
    rows = RowScores(tmp_path / "rows", opened)
    assert found["rows"] == rows.scores.size and rows.sets == 1
    assert found["answered"] == pytest.approx(np.isfinite(rows.scores).mean())
    found = run("knowledge", store_of_grid, "--to", tmp_path / "knowledge")
    assert found["source"] == "description"
    assert not Knowledge(tmp_path / "knowledge", opened).positions.any()
    found = run(
        "examples", store_of_grid, "--text", text, "--to", tmp_path / "examples"
    )
    assert Examples(tmp_path / "examples", opened).neighbours.shape[1:] == (2, 2)
    trained = run(
        *("train", "kd", store_of_grid, "--text", text),
        *("--row-scores", tmp_path / "rows", "--to", tmp_path / "model"),
    )
    assert trained["best_epoch"] == 1


@pytest.mark.parametrize("command", ["knowledge", "examples"])
def test_a_dry_run_is_of_a_language_model(command, run_sllmr, grid, tmp_path):
    data = grid.folder / "data" / "shop"
    text = ["--text", data / "text"] if command == "examples" else []
    given = [command, data / "store", *text, "--dry-run"]
    code, _, err = run_sllmr(*given)
    assert code == 2 and "source: llm" in " ".join(err.split())
    config = tmp_path / "run.yaml"
    llm = {"model": "gpt-4o-mini", "base_url": "http://localhost:9"}
    section = {"source": "llm"}
    values = {"name": "run", command: section, "score": {"teacher": "llm", "llm": llm}}
    config.write_text(yaml.safe_dump(values))
    code, out, err = run_sllmr(*given, "--config", config, "--json")
    assert code == 0, err
    for part in json.loads(out).values():
        assert part["requests"] > 0 and part["prompt_tokens"] > 0
    del values["score"]
    config.write_text(yaml.safe_dump(values))
    code, _, err = run_sllmr(*given, "--config", config)
    assert code == 2 and "must name a language model" in " ".join(err.split())


def test_where_to_write(run_sllmr, store):
    code, _, err = run_sllmr("knowledge", store)
    assert code == 2 and "`--to` must name the folder" in " ".join(err.split())
