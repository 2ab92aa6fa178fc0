import pytest
import yaml

from keras_sllmr.cli.grid_config import Cell, load_grid
from keras_sllmr.errors import ConfigError


@pytest.fixture
def grid_of(tmp_path):
    def load(data=None, **changes):
        values = {
            "name": "grid",
            "domains": {"shop": {"import": {"path": "shop"}}},
            "methods": ["none", "sllmr"],
            **changes,
        }
        path = tmp_path / "grid.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return load_grid(path, data=data)

    return load


def test_cells_go_seed_by_seed(grid_of):
    grid = grid_of(backbones=["deepfm", "din"], seeds=[3, 4])
    names = [cell.name for cell in grid.cells()]
    assert len(names) == 8
    assert names[:3] == ["shop/deepfm-none-3", "shop/deepfm-sllmr-3", "shop/din-none-3"]
    assert names[-1] == "shop/din-sllmr-4"


def test_settings_of_a_cell(grid_of):
    grid = grid_of(
        backbones=["deepfm", "din"],
        methods={
            "none": None,
            "global": {
                "method": "sllmr",
                "label": "global pairwise",
                "train": {"selective": {"gate_objective": "fixed", "weight": 0.3}},
            },
        },
        seeds=[7],
        train={"epochs": 4, "backbone": {"hyperparameters": {"dropout": 0.1}}},
        overrides=[
            {"backbone": "din", "train": {"learning_rate": 0.01}},
            {"method": "global", "train": {"selective": {"weight": 0.5}}},
            {"backbone": "deepfm", "train": {"epochs": 1}},
        ],
    )
    settings = grid.train_settings(Cell("shop", "din", "global", 7))
    assert settings.backbone.name == "din"
    assert settings.backbone.hyperparameters == {"dropout": 0.1}
    assert (settings.seed, settings.epochs, settings.learning_rate) == (7, 4, 0.01)
    assert settings.selective.gate_objective == "fixed"
    assert settings.selective.weight == 0.5
    assert grid.train_settings(Cell("shop", "deepfm", "none", 7)).learning_rate == 0.001
    assert grid.methods["none"].method == "none"
    assert grid.methods["global"].label == "global pairwise"
    assert grid.compare.baseline == "none"


def test_full_ranking_of_some_seeds(grid_of):
    grid = grid_of(seeds=[0, 1], full_seeds=[1], evaluate={"k": 5})
    settings = [grid.evaluation_settings(cell) for cell in grid.cells()]
    assert [one.full for one in settings] == [False, False, True, True]
    assert {one.k for one in settings} == {5}


def test_data_below_a_folder(grid_of, tmp_path):
    assert grid_of(data=tmp_path).domains["shop"].data.path == tmp_path / "shop"
    embedded = grid_of(data=tmp_path, domains={"movies": {}})
    assert embedded.domains["movies"].data.path is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["other"]}, "methods.other.method"),
        ({"methods": []}, "methods"),
        ({"seeds": [1, 1]}, "each may be named once"),
        ({"domains": {"a/b": {}}}, "a/b"),
        ({"train": {"epoch": 3}}, "train of shop/deepfm-none-0.epoch"),
        ({"evaluate": {"kk": 3}}, "evaluate.kk"),
        ({"overrides": [{"seed": 1, "train": {}}]}, "overrides.0.seed"),
        ({"overrides": [{"domain": "toys", "train": {}}]}, "no domain 'toys'"),
        ({"name": "a/b"}, "name"),
    ],
)
def test_mistakes_are_told_before_anything_runs(grid_of, changes, message):
    with pytest.raises(ConfigError, match=message):
        grid_of(**changes)
