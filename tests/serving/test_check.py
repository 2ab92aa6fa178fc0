import subprocess
import sys

import pytest

from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.serving import fresh_process
from keras_sllmr.serving.check import check_export
from keras_sllmr.serving.export import export_model


@pytest.fixture
def in_process(monkeypatch):
    """Answers here: starting TensorFlow anew takes seconds."""

    def run(command, **kwargs):
        assert command[:3] == [sys.executable, "-m", fresh_process.__name__]
        fresh_process.answer(*command[3:])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)


def test_export_equals_the_keras_model_in_a_fresh_process(exported, store):
    found = check_export(*exported)
    assert found["rows"] == store.n_users
    assert found["max_abs_diff"] <= 1e-5


def test_user_field_is_checked_too(make_digits, spec, store, tmp_path, in_process):
    backbone = make_digits(user=(), item=(), history=(3,), item_attributes=(2,))
    path = export_model(backbone, spec, store, tmp_path, name="m")
    assert check_export(path, backbone, spec, store, rows=2) == {
        "rows": 2,
        "max_abs_diff": 0.0,
    }


def test_another_model_is_noticed(exported, make_backbone, in_process):
    other = make_backbone(exported.spec, seed=1)
    with pytest.raises(StoreError, match="must be within 1e-05"):
        check_export(exported.path, other, exported.spec, exported.store, rows=3)


def test_not_a_number_is_no_agreement(exported, monkeypatch):
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
