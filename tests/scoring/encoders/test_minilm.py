from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import EnvironmentProblem
from keras_sllmr.scoring.encoders import MiniLM, minilm, package_file


class _Tokenizer:
    """A token a letter; "z" is none."""

    def encode_batch(self, texts: list[str]) -> list[Any]:
        return [
            SimpleNamespace(ids=[ord(letter) - 96 for letter in text if letter != "z"])
            for text in texts
        ]


class _Session:
    """Token n becomes the vector [n, 9 · (n = 0)]; keeps what it was fed."""

    def __init__(self, pooled: bool) -> None:
        self.pooled = pooled
        self.fed: list[dict[str, np.ndarray]] = []

    def get_inputs(self) -> list[Any]:
        return [
            SimpleNamespace(name="input_ids"),
            SimpleNamespace(name="attention_mask"),
        ]

    def run(self, outputs: None, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.fed.append(feeds)
        ids = feeds["input_ids"].astype(np.float32)
        hidden = np.stack([ids, 9.0 * (ids == 0) + 1], axis=-1)
        return [hidden[:, 0] if self.pooled else hidden]


@pytest.fixture
def encoder(tmp_path: Any) -> MiniLM:
    encoder = MiniLM(
        model=tmp_path / "model.onnx", tokenizer=tmp_path / "t.json", threads=1
    )
    encoder.__dict__.update(_session=_Session(pooled=False), _tokenizer=_Tokenizer())
    encoder.dimension = 2
    return encoder


def test_mean_over_the_tokens_without_the_padding(encoder: MiniLM) -> None:
    vectors = encoder.encode(["aac", "", "  ", "d"])
    assert vectors.dtype == np.float32
    expected = np.array([[5 / 3, 1], [4, 1]])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors[[0, 3]], expected, rtol=1e-6)
    np.testing.assert_array_equal(vectors[[1, 2]], np.zeros((2, 2)))
    assert set(encoder._session.fed[0]) == {"input_ids", "attention_mask"}


def test_a_model_that_pools_itself(encoder: MiniLM) -> None:
    encoder.__dict__["_session"] = _Session(pooled=True)
    expected = np.array([[3.0, 1.0]]) / np.hypot(3, 1)
    np.testing.assert_allclose(encoder.encode(["ca"]), expected, rtol=1e-6)


def test_batches_of_like_length_in_any_order(encoder: MiniLM) -> None:
    texts = ["abcdef", "a", "bcdefg", "b", "ab"]
    seen: list[tuple[int, int]] = []
    vectors = encoder.encode(
        texts, batch_size=2, progress=lambda done, total: seen.append((done, total))
    )
    widths = [fed["input_ids"].shape[1] for fed in encoder._session.fed]
    assert widths == [1, 6, 6] and seen == [(2, 5), (4, 5), (5, 5)]
    turned = encoder.encode(texts[::-1], batch_size=64)
    np.testing.assert_allclose(vectors, turned[::-1], rtol=1e-6)


def test_batches_are_of_like_length_in_tokens(encoder: MiniLM) -> None:
    encoder.encode(["aaa", "zzzza", "bbb", "zzzzzzb"], batch_size=2)
    assert [fed["input_ids"].shape for fed in encoder._session.fed] == [(2, 1), (2, 3)]


def test_threads_and_chunks_change_nothing(
    encoder: MiniLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["ab" * (row % 7) + "c" for row in range(50)]
    expected = encoder.encode(texts)
    monkeypatch.setattr(minilm, "_CHUNK", 8)
    encoder.threads = 3
    seen: list[tuple[int, int]] = []
    vectors = encoder.encode(
        texts, batch_size=3, progress=lambda done, total: seen.append((done, total))
    )
    np.testing.assert_allclose(vectors, expected, rtol=1e-6)
    assert seen[-1] == (50, 50) and seen == sorted(seen)


def test_nothing_to_encode(encoder: MiniLM) -> None:
    assert encoder.encode([]).shape == (0, 2)
    assert encoder._session.fed == []


@pytest.mark.parametrize("package", ["no_such_package_anywhere", "json"])
def test_a_missing_file_says_how_to_install_it(package: str) -> None:
    with pytest.raises(
        EnvironmentProblem, match=r"'?\w+'? with m.onnx is missing. Inst"
    ):
        package_file(package, "m.onnx")


def test_a_file_in_a_package() -> None:
    assert package_file("json", "decoder.py").name == "decoder.py"


def test_the_real_encoder() -> None:
    try:
        encoder = MiniLM(threads=1)
    except EnvironmentProblem as error:
        pytest.skip(str(error))
    vectors = encoder.encode(
        ["A kitten sleeps.", "", "A cat naps.", "Interest rates rose again this year."]
    )
    assert vectors.shape == (4, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1, 1], atol=1e-5)
    cosine = vectors @ vectors.T
    assert cosine[0, 2] > 0.5 > cosine[0, 3]
