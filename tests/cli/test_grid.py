import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

from keras_sllmr.cli.grid import Grid, run_cells
from keras_sllmr.cli.grid_config import Cell, load_grid
from keras_sllmr.errors import ConfigError

pytestmark = pytest.mark.usefixtures("needs_the_encoder")


@pytest.fixture(scope="module")
def grid_file(tmp_path_factory, source):
    """A grid whose cells take a second each; two seeds of two methods."""
    config = {
        "name": "tiny",
        "domains": {
            "shop": {
                "import": {"path": source.name},
                "score": {"candidates": {"popular_pool": 20, "near_pool": 20}},
            }
        },
        "methods": ["none", "sllmr"],
        "seeds": [0, 1],
        "train": {
            "epochs": 1,
            "batch": {"rows": 32},
            "backbone": {"hyperparameters": {"embedding_dim": 4}},
        },
        "evaluate": {"compare": {"replicates": 50}},
    }
    path = tmp_path_factory.mktemp("grid") / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def prepared(grid_file, source, tmp_path_factory):
    """The grid with its data made, none of its cells run."""
    config = load_grid(grid_file, data=source.parent)
    grid = Grid(config, tmp_path_factory.mktemp("runs") / "tiny")
    grid.prepare()
    return grid


@pytest.mark.slow
def test_cells_one_by_one(prepared):
    cell = Cell("shop", "deepfm", "none", 0)
    assert prepared.result(cell) is None
    result = prepared.run_cell(cell)
    assert result.identity == ("shop", "deepfm", "none", 0)
    assert result.about["label"] == "None"
    assert 0 < result.about["validation"] < 1
    assert not (prepared.folder / "models" / cell.name).exists()
    assert prepared.result(cell) is not None

    # The same seed gives the same file, to the last digit of every logit.
    first = prepared.result_file(cell).read_bytes()
    prepared.result_file(cell).unlink()
    prepared.run_cell(cell)
    assert without_speed(prepared.result_file(cell).read_bytes()) == without_speed(
        first
    )

    # A result of other settings, or a damaged one, counts for nothing.
    changed = prepared.config.model_copy(update={"train": {"epochs": 2}})
    assert Grid(changed, prepared.folder).result(cell) is None
    prepared.result_file(cell).write_bytes(first[:100])
    assert prepared.result(cell) is None
    prepared.result_file(cell).unlink()
    with pytest.raises(ConfigError, match="no cell 'shop/din-none-0'"):
        prepared.run_cell(Cell("shop", "din", "none", 0))


def without_speed(content):
    """All that a result file holds but how fast its model was trained."""
    arrays = dict(np.load(io.BytesIO(content)))
    about = json.loads(str(arrays.pop("about")))
    # The model's hash is also of the seconds that its epochs took.
    del about["rows_per_second"], about["model"]
    return about, {name: array.tobytes() for name, array in arrays.items()}


def test_a_failing_cell_does_not_stop_the_others(prepared, tmp_path):
    script = tmp_path / "cell.py"
    script.write_text(
        "import sys\n"
        "if sys.argv[1].endswith('none-1'):\n"
        "    sys.exit('Error: no luck')\n"
    )
    ended = []
    problems = run_cells(
        prepared,
        lambda cell: [sys.executable, str(script), cell.name],
        jobs=2,
        done=lambda cell, result, problem: ended.append(cell.name),
    )
    assert len(ended) == 4
    assert "Error: no luck" in problems["shop/deepfm-none-1"]
    # A process that ends well and leaves no result has failed, too.
    assert set(problems) == set(ended)
    with pytest.raises(ConfigError, match="`jobs`"):
        run_cells(prepared, lambda cell: [], jobs=0)


def test_the_whole_grid_goes_on_after_a_kill(grid_file, source, tmp_path):
    config = yaml.safe_load(grid_file.read_text()) | {"methods": ["none"]}
    small = tmp_path / "small.yaml"
    small.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "keras_sllmr.cli.main", "grid", str(small)]
    command += ["--data", str(source.parent), "--runs", str(tmp_path), "--jobs", "2"]
    results = tmp_path / "tiny" / "results" / "shop"
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    while process.poll() is None and not list(results.glob("*.npz")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in results.glob("*.npz")}

    done = subprocess.run(
        [*command, "--json"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    comparison = json.loads(done.stdout)
    (group,) = comparison["groups"]
    assert group["seeds"] == [0, 1]
    assert group["methods"]["none"]["seeds"] == [0, 1]
    assert len(list(results.glob("*.npz"))) == 2
    # What was whole when it was killed has not been run again.
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items())
    files = {path.name for path in (tmp_path / "tiny").glob("comparison.*")}
    assert files == {
        f"comparison.{end}" for end in ("json", "csv", "md", "tex", "html")
    }


def test_equal_cells_of_another_grid_are_not_run_again(prepared, tmp_path):
    cell = Cell("shop", "deepfm", "none", 0)
    result = prepared.result(cell) or prepared.run_cell(cell)
    columns = {
        "plain": {"method": "none", "label": "Plain"},
        "slow": {"method": "none", "train": {"learning_rate": 1e-5}},
    }
    config = type(prepared.config).model_validate(
        {
            **prepared.config.model_dump(by_alias=True),
            "name": "other",
            "methods": columns,
        }
    )
    other = Grid(config, tmp_path / "other")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "data").symlink_to(prepared.folder / "data")
    assert "shop/deepfm-plain-0" in other.reuse(prepared.folder)
    taken = other.result(Cell("shop", "deepfm", "plain", 0))
    assert taken.identity == ("shop", "deepfm", "plain", 0)
    assert taken.about["label"] == "Plain"
    np.testing.assert_array_equal(taken.logits, result.logits)
    assert other.result(Cell("shop", "deepfm", "slow", 0)) is None
    assert other.reuse(prepared.folder) == []
