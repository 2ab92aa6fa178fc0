import subprocess
import sys

import pytest

from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.serving.check import check_export
from keras_sllmr.serving.export import export_model


def test_export_equals_the_keras_model_in_a_fresh_process(
    exported, make_backbone, store, tmp_path
):
    found = check_export(*exported)
    assert found["rows"] == store.n_users
    assert found["max_abs_diff"] <= 1e-5


def test_user_field_is_checked_too(make_digits, spec, store, tmp_path):
    backbone = make_digits(user=(), item=(), history=(3,), item_attributes=(2,))
    path = export_model(backbone, spec, store, tmp_path, name="m")
    assert check_export(path, backbone, spec, store, rows=2) == {
        "rows": 2,
        "max_abs_diff": 0.0,
    }


def test_another_model_is_noticed(exported, make_backbone):
    other = make_backbone(exported.spec, seed=1)
    with pytest.raises(StoreError, match="must be within 1e-05"):
        check_export(exported.path, other, exported.spec, exported.store, rows=3)


def test_not_a_number_is_no_agreement(exported, make_backbone, monkeypatch):
    monkeypatch.setattr("keras_sllmr.serving.check._logits", lambda *_: float("nan"))
    with pytest.raises(StoreError, match="a difference of nan"):
        check_export(*exported)


def test_a_damaged_export_is_named(exported, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(StoreError, match="fresh process.*Export it again"):
        check_export(tmp_path, *exported[1:])


def test_rows_must_be_positive(exported):
    with pytest.raises(ConfigError, match="Received: rows=0"):
        check_export(*exported, rows=0)


def test_the_fresh_process_knows_tensorflow_alone():
    program = (
        "import keras_sllmr.serving.fresh_process, sys; "
        "print(sorted({m.split('.')[0] for m in sys.modules}), "
        "sorted(m for m in sys.modules if m.startswith('keras_sllmr')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    roots, own = done.stdout.rsplit(" [", 1)
    assert "'tensorflow'" in roots
    assert "deepctr" not in roots and "tf_keras" not in roots
    assert own.strip() == (
        "'keras_sllmr', 'keras_sllmr.serving', 'keras_sllmr.serving.fresh_process']"
    )
