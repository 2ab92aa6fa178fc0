from pathlib import Path

import pytest

from keras_sllmr.cli.config import ImportConfig, RunConfig, load_config
from keras_sllmr.cli.grid_config import load_grid
from keras_sllmr.cli.stages import source_hashes
from keras_sllmr.errors import ConfigError
from keras_sllmr.settings import settings_of
from keras_sllmr.training.settings import TrainSettings

PIPELINES = Path(__file__).parents[2] / "pipelines"


@pytest.mark.parametrize("path", sorted(PIPELINES.glob("*.yaml")), ids=lambda p: p.name)
def test_every_pipeline_is_valid(path):
    config = load_config(path)
    assert config.name == path.stem
    settings_of(TrainSettings, {"seed": config.seed, **config.train}, "train")


@pytest.mark.parametrize(
    "path", sorted((PIPELINES / "grids").glob("*.yaml")), ids=lambda p: p.name
)
def test_every_grid_is_valid(path):
    assert load_grid(path).name == path.stem


def test_data_replaces_the_path(tmp_path):
    config = load_config(PIPELINES / "beauty.yaml", data=tmp_path)
    assert config.data.path == tmp_path


def test_a_file_of_users_is_a_source(tmp_path):
    paths = [tmp_path / name for name in ("events.csv", "people.csv")]
    for path in paths:
        path.write_text(path.name)
    config = ImportConfig(path=paths[0], options={"users": str(paths[1])})
    assert [name for name, _ in source_hashes(config)] == ["events.csv", "people.csv"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "not valid YAML"),
        ("- 1", "must hold a mapping"),
        ("name: x\nmethod: [none]", "method: Extra inputs"),
        ("name: x\nmethods: [magic]", "Received: 'magic'"),
        ("name: ../x", "Received: '../x'"),
        ("name: x\nexport: {version: 0}", "export.version"),
    ],
)
def test_wrong_files_name_the_setting(tmp_path, text, said):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said.replace("[", r"\[")):
        load_config(path)


def test_missing_file():
    with pytest.raises(ConfigError, match="No such configuration"):
        load_config("nowhere.yaml")


def test_settings_list_every_problem():
    with pytest.raises(ConfigError) as caught:
        settings_of(RunConfig, {"name": "x", "seed": "one", "data": 3}, "run")
    assert "run.seed" in str(caught.value)
    assert "Received: 'one'" in str(caught.value)
    assert "run.data" in str(caught.value)
