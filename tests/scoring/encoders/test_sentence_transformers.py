import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import EnvironmentProblem
from keras_sllmr.scoring.encoders import SentenceTransformerEncoder
from keras_sllmr.scoring.encoders import sentence_transformers as module


class _Model:
    """A text becomes [its length, 1]; keeps what it was given."""

    def __init__(self, name: str, device: str | None = None) -> None:
        if name == "missing":
            raise OSError("no such model")
        self.device, self.calls = device, []  # type: tuple[str | None, list[Any]]

    def encode(self, texts: list[str], **options: Any) -> np.ndarray:
        self.calls.append((texts, options))
        return np.array([[len(text), 1.0] for text in texts])


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("sentence_transformers")
    package.__dict__["SentenceTransformer"] = _Model
    monkeypatch.setitem(sys.modules, "sentence_transformers", package)


@pytest.mark.usefixtures("installed")
def test_unit_vectors_in_the_given_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 2)
    encoder = SentenceTransformerEncoder("a/model", batch_size=7, device="cpu")
    seen: list[tuple[int, int]] = []
    vectors = encoder.encode(
        ["abc", " ", "a", "ab"], progress=lambda *done: seen.append(done)
    )
    expected = np.array([[3, 1], [0, 0], [1, 1], [2, 1]], float)
    expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1)
    assert vectors.dtype == np.float32 and encoder.name == "a/model"
    np.testing.assert_allclose(vectors, expected, rtol=1e-6)
    assert seen == [(2, 3), (3, 3)]
    texts, options = encoder._model.calls[-2]
    assert texts == ["a", "ab"] and options["batch_size"] == 7
    assert encoder._model.device == "cpu"


@pytest.mark.usefixtures("installed")
def test_a_prefix_changes_the_texts_and_the_name() -> None:
    encoder = SentenceTransformerEncoder("m", prefix="passage: ")
    assert encoder.encode(["", "a"])[0].tolist() == [0, 0]
    assert encoder._model.calls[-1][0] == ["passage: a"]
    assert encoder.name == "m, prefix 'passage: '"


@pytest.mark.usefixtures("installed")
def test_nothing_to_encode() -> None:
    assert SentenceTransformerEncoder("m").encode([]).shape == (0, 2)
    assert SentenceTransformerEncoder("m").encode([""]).tolist() == [[0, 0]]


@pytest.mark.usefixtures("installed")
def test_a_folder_gives_its_last_name_only(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    assert SentenceTransformerEncoder(str(folder)).name == "my-model"


@pytest.mark.usefixtures("installed")
def test_a_model_that_can_not_be_loaded() -> None:
    with pytest.raises(EnvironmentProblem, match="'missing' can not be loaded: no suc"):
        SentenceTransformerEncoder("missing").encode(["a"])


def test_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(EnvironmentProblem, match="pip install sentence-transformers"):
        SentenceTransformerEncoder("m")


def test_the_real_library(tmp_path: Path) -> None:
    models = pytest.importorskip("sentence_transformers.models")
    from sentence_transformers import SentenceTransformer

    words = models.BoW(vocab=["cat", "dog"])
    SentenceTransformer(modules=[words]).save(str(tmp_path / "words"))
    vectors = SentenceTransformerEncoder(str(tmp_path / "words")).encode(
        ["cat", "", "dog"]
    )
    np.testing.assert_allclose(vectors @ vectors.T, np.diag([1, 0, 1]), atol=1e-6)
