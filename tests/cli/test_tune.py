import json

import pytest
import yaml


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "run.yaml"
    values = {
        "name": "small",
        "seed": 2,
        "train": {
            "epochs": 1,
            "batch": {"rows": 128},
            "backbone": {
                "text": False,
                "hyperparameters": {"embedding_dim": 4, "dnn_hidden_units": [8]},
            },
        },
        "tune": {"learning_rate": {"low": 1.0e-3, "high": 0.1, "log": True}},
    }
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture
def eagerly():
    """Few steps: tracing would take most of the time."""
    from keras_sllmr.compat import tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.usefixtures("eagerly")
def test_tune_and_train_with_the_best(run_sllmr, tmp_path, store, config):
    search = tmp_path / "search"
    command = ("tune", "none", store, "--config", config, "--to", search)
    code, out, err = run_sllmr(*command, "--trials", 2, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [row["trial"] for row in found["trials"]] == [0, 1]
    assert found["best"] in found["trials"] and found["best"]["best"]
    first = found["trials"][0]["settings"]
    assert (first["learning_rate"], first["seed"]) == (1e-3, 2)

    code, out, err = run_sllmr(*command, "--trials", 2)  # Nothing is left to do.
    assert (code, err) == (0, "")
    assert "learning_rate" in out and "validation AUC" in out and "best.yaml" in out

    code, out, _ = run_sllmr(
        *("train", "none", store, "--to", tmp_path / "model", "--json"),
        *("--config", search / "best.yaml"),
    )
    assert code == 0
    trained = json.loads(out)["val_auc_sampled"]
    assert trained == pytest.approx(found["best"]["value"], abs=1e-6)


def test_errors_are_one_line_and_a_code(run_sllmr, tmp_path, store, config):
    to = ("--to", tmp_path / "search")
    code, out, err = run_sllmr("tune", "sllmr", store, "--config", config, *to)
    assert (code, out) == (4, "") and "needs a score table" in err
    config.write_text("name: x\ntune: {learning_rate: {low: 1}}")
    code, out, err = run_sllmr("tune", "none", store, "--config", config, *to)
    assert (code, out) == (2, "") and "tune.learning_rate.range.high" in err
    assert not (tmp_path / "search").exists()
