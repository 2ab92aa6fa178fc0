import copy

import pytest

from keras_sllmr.serving.export import export_manifest
from keras_sllmr.serving.model_card import metrics_of, model_card

GROUP = {
    "slices": {"all": {"rows": 100, "users": 90}, "cold": {"rows": 7, "users": 6}},
    "methods": {
        "none": {"label": "None", "seeds": [0], "auc_full": {"all": 0.7}},
        "sllmr": {
            "label": "S-LLMR",
            "seeds": [0],
            "auc_full": {"all": 0.8125, "cold": None},
            "spread": {"auc_full": {"all": 0.1}},
            "calibration": {"ece": 0.1},
        },
    },
    "differences": [
        {
            "metric": "auc_full",
            "slice": "all",
            "method": "sllmr",
            "baseline": "none",
            "difference": 0.1125,
            "low": 0.05,
            "high": None,
            "level": 0.95,
            "verdict": "level",
        }
    ],
}
MODEL = {
    "fingerprint": "f00",
    "parent": {"store": "5t0", "scores": "5c0", "text": None},
    "settings": {
        "method": "sllmr",
        "train": {"backbone": {"name": "din"}, "seed": 7},
    },
    "history": {"best_epoch": 2, "epochs": [{}, {}, {}]},
}


@pytest.fixture
def manifest(exported):
    return copy.deepcopy(export_manifest(exported.path))


def test_what_is_unknown_is_said(exported, manifest):
    card = model_card(manifest)
    assert card == (exported.path / "assets.extra/MODEL_CARD.md").read_text("utf-8")
    assert card.startswith("# tiny, version 1\n\nA ranking model.\n")
    assert "5 users, 9 items, " in card
    assert "How it was trained is not known to this export.\n\nThe served" in card
    assert "None were given to the export." in card
    for name, of in manifest["signatures"].items():
        assert f"- `{name}` ({of['method']})\n" in card
    assert "  - outputs: `logit` float32 [None], `score` float32 [None]\n" in card
    assert f"| store | `{exported.store.fingerprint}` |" in card
    assert "user_id" not in card


def test_a_trained_and_evaluated_model(manifest):
    manifest |= {"model": MODEL, "metrics": metrics_of(GROUP, "sllmr")}
    manifest |= {"run": {"teacher": {"name": "minilm`|\n", "weights": [1, 2]}}}
    manifest["parent"]["model"] = MODEL["fingerprint"]
    manifest["settings"]["features"]["user_id"] = True
    card = model_card(manifest)
    assert (
        "A din ranking model, trained with the method `sllmr`\n(seed 7, epoch 2 of 3"
        in card
    )
    assert "The teacher: `name: minilm   , weights: 1; 2`.\n\nThe served" in card
    assert "no language model" in card
    assert "differences are those from `none`" in card
    rows = [line for line in card.splitlines() if line.startswith("| auc_full")]
    assert rows == [
        "| auc_full | all | 100 | 90 | 0.8125 | +0.1125 [+0.0500, -] level |",
        "| auc_full | cold | 7 | 6 | - | - |",
    ]
    assert "An unknown `user_id`" in card
    for line in ("| model | `f00` |", "| scores | `5c0` |"):
        assert line in card
    assert "| text |" not in card


def test_the_plain_model_has_no_teacher(manifest):
    model = copy.deepcopy(MODEL)
    model["settings"]["method"] = "none"
    card = model_card(manifest | {"model": model, "metrics": metrics_of(GROUP, "none")})
    assert "Trained on interactions alone." in card
    assert "| auc_full | all | 100 | 90 | 0.7000 | - |" in card
    assert "The teacher" not in card and "differences are" not in card


def test_source_files_and_columns(manifest):
    manifest["store"]["parent"] = {
        "kind": "tables",
        "files": [{"name": "a.csv", "sha256": "abc"}],
    }
    manifest["store"]["columns"] = {"user": {"age": "numeric"}}
    card = model_card(manifest)
    assert "- source file `a.csv`, SHA-256 `abc`\n" in card
    assert "- further columns: `age` (user, numeric)\n" in card


def test_an_estimate_is_called_one(manifest):
    group = copy.deepcopy(GROUP)
    group["methods"]["sllmr"]["full_sample"] = 100
    card = model_card(manifest | {"metrics": metrics_of(group, "sllmr")})
    assert "`auc_full` is an estimate,\nfrom 100 drawn items a row" in card
    assert "| full_sample" not in card


@pytest.mark.parametrize(
    "method, said",
    [
        ("kd", "a teacher's scores of the training rows. The teacher: `name: t`."),
        ("global", "of items for some users. The teacher: `name: t`."),
        ("kar", "vectors of texts on users and items"),
        ("llm_cf", "labelled examples that are like the row"),
    ],
)
def test_what_a_method_trains_with(manifest, method, said):
    model = copy.deepcopy(MODEL)
    model["settings"]["method"] = method
    card = model_card(manifest | {"model": model, "run": {"teacher": {"name": "t"}}})
    assert (
        said in card and "a gate" not in card.split("## Metrics")[0].split("The s")[0]
    )
