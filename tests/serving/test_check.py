import shutil
import subprocess
import sys

import numpy as np
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.serving.check import check_export
from keras_sllmr.serving.export import export_model, load_export


def test_export_equals_the_keras_model_in_a_fresh_process(exported, store):
    found = check_export(*exported)
    assert found["rows"] == store.n_users
    assert found["max_abs_diff"] <= 1e-5
    assert set(found["signatures"]) >= {"serving_default", "rank", "regress"}


def test_user_field_is_checked_too(make_digits, spec, store, tmp_path, in_process):
    backbone = make_digits(user=(), item=(), history=(3,), item_attributes=(2,))
    path = export_model(backbone, spec, store, tmp_path, name="m", dense_ids=True)
    found = check_export(path, backbone, spec, store, rows=2)
    # Digits are exact, and their scores all but.
    assert found["rows"] == 2
    assert found["max_abs_diff"] < 1e-7
    assert set(found["signatures"]) == {
        "serving_default",
        "rank",
        "rank_dense",
        "serve_examples",
        "classify",
        "regress",
    }


def test_another_model_is_noticed(exported, make_backbone, in_process):
    other = make_backbone(exported.spec, seed=1)
    with pytest.raises(StoreError, match="must be within 1e-05.*'serving_default'"):
        check_export(exported.path, other, exported.spec, exported.store, rows=3)


@pytest.mark.parametrize("signature", ["rank", "serve_examples", "classify", "regress"])
def test_every_signature_is_compared(exported, signature, monkeypatch):
    def answers(path, requests):
        found = {}
        fresh = load_export(path).signatures
        for name, inputs in requests.items():
            tensors = {n: tf.constant(x) for n, x in inputs.items()}
            found[name] = {n: x.numpy() for n, x in fresh[name](**tensors).items()}
        last = max(found[signature])
        found[signature][last] = found[signature][last] * 1.001
        return found

    monkeypatch.setattr("keras_sllmr.serving.check._answers", answers)
    with pytest.raises(StoreError, match=f"from '{signature}' on"):
        check_export(*exported)


def test_not_a_number_is_no_agreement(exported, monkeypatch):
    def answers(path, requests):
        return {"regress": {"outputs": np.full((exported.store.n_users, 1), np.nan)}}

    monkeypatch.setattr("keras_sllmr.serving.check._answers", answers)
    with pytest.raises(StoreError, match="'outputs': nan"):
        check_export(*exported)


def test_a_damaged_export_is_named(exported, tmp_path):
    shutil.copytree(exported.path / "assets.extra", tmp_path / "assets.extra")
    (tmp_path / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(StoreError, match="fresh process.*Export it again"):
        check_export(tmp_path, *exported[1:])


def test_rows_must_be_positive(exported):
    with pytest.raises(ConfigError, match="Received: rows=0"):
        check_export(*exported, rows=0)


def test_the_fresh_process_needs_nothing_but_tensorflow():
    program = (
        "import sys, types; sys.modules['tensorflow'] = types.ModuleType('tensorflow'); "
        "import keras_sllmr.serving.fresh_process; "
        "print(*sorted(m for m in sys.modules if m.startswith(('keras', 'tf_keras'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [
        "keras_sllmr",
        "keras_sllmr.serving",
        "keras_sllmr.serving.fresh_process",
    ]
