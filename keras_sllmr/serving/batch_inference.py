"""Batch inference: TFRecords of examples through an export, to TFRecords of scores."""

import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.io.atomic import replace_folder
from keras_sllmr.io.lock import exclusive
from keras_sllmr.io.tfrecord import shard_name, write_shard
from keras_sllmr.pipeline.in_process import InProcess
from keras_sllmr.pipeline.stage import Runner, Stage
from keras_sllmr.serving.export import export_manifest, load_export
from keras_sllmr.store.manifest import require_replaceable, write_manifest

PREDICTIONS_VERSION = 1
SIGNATURE = "serve_examples"


def predict_records(
    export: str | os.PathLike[str],
    examples: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    path: str | os.PathLike[str],
    *,
    keys: Sequence[str] = ("user_id", "item_id"),
    batch: int = 1024,
    runner: Runner | None = None,
) -> int:
    """Scores files of serialised tf.Example, file by file, whole or not at all.

    Each record has one for it in the file of the same place, in the same order: the
    features in `keys` that it has, and `score` and `logit`.

    Args:
        export: an exported version, see `export_model`.
        examples: TFRecord files of the inputs that its `serve_examples` takes, or a
            folder of them.
        path: folder of the predictions; older predictions there are replaced.
        keys: features to copy, so that predictions can be joined to something.
        batch: int. Records scored at a time. Defaults to `1024`.
        runner: runs the work, a unit a file. Defaults to `InProcess`. Its workers must
            see all folders.

    Returns:
        How many records were scored.

    Raises:
        ConfigError: when `batch` is not positive.
        DataError: when there is no file, or one is damaged or holds something else.
        StoreError: when the export is not whole, something else is at `path`, another
            job writes it, the disk is full, or a worker failed.

    Example:
        >>> predict_records(                                       # doctest: +SKIP
        ...     "saved_models/beauty/1", "examples/", "predictions/beauty"
        ... )
        22363
    """
    if batch < 1:
        raise ConfigError(f"`batch` must be at least 1. Received: batch={batch}")
    files = _files(examples)
    model = export_manifest(export)
    require_replaceable(path, kind="predictions")
    with exclusive(path), replace_folder(path) as folder:
        work = ScoreFile(Path(export), folder / "records", tuple(keys), batch)
        units = [(file, shard_name(k, len(files))) for k, file in enumerate(files)]
        found = (runner or InProcess()).run(Stage("predictions", units, work))
        records = sum(found.values())
        write_manifest(
            folder,
            kind="predictions",
            schema_version=PREDICTIONS_VERSION,
            parent={"export": model["fingerprint"]},
            settings={"keys": list(keys), "model": model["name"]},
            counts={"predictions": records},
            inputs=[file.name for file in files],
        )
    return records


def _files(examples: Any) -> list[Path]:
    given = [examples] if isinstance(examples, str | os.PathLike) else list(examples)
    files: list[Path] = []
    for path in map(Path, given):
        files += sorted(path.glob("*.tfrecord")) if path.is_dir() else [path]
    missing = [path for path in files if not path.is_file()]
    if missing or not files:
        raise DataError(
            "Batch inference needs TFRecord files, or a folder of `*.tfrecord`. "
            f"Received: {', '.join(map(str, missing or given)) or 'nothing'}"
        )
    return files


@dataclass(frozen=True)
class ScoreFile:
    """Scores one file of examples.

    Args:
        export: an exported version.
        folder: of the predictions.
        keys: features to copy.
        batch: records at a time.
    """

    export: Path
    folder: Path
    keys: tuple[str, ...]
    batch: int

    def __call__(self, key: int, parts: Sequence[Any]) -> int:
        """See the class."""
        ((file, name),) = parts
        self.folder.mkdir(parents=True, exist_ok=True)
        counted = 0

        def records() -> Iterator[bytes]:
            nonlocal counted
            for record in self._scored(file):
                counted += 1
                yield record

        write_shard(self.folder / name, records())
        return counted

    def _scored(self, file: Path) -> Iterator[bytes]:
        _, serve = _loaded(self.export)
        batches = tf.data.TFRecordDataset(str(file)).batch(self.batch)
        try:
            for batch in batches:
                found = serve(examples=batch)
                rows = (batch, found["score"], found["logit"])
                for row in zip(*(column.numpy() for column in rows), strict=True):
                    yield self._record(*row)
        except tf.errors.OpError as error:
            raise DataError(
                f"{file} must hold whole serialised tf.Example records, as "
                f"`{SIGNATURE}` takes them. Received: "
                f"{str(error.message).splitlines()[0]}"
            ) from error

    def _record(self, given: bytes, score: float, logit: float) -> bytes:
        features = tf.train.Example.FromString(given).features.feature
        record = tf.train.Example()
        for name in self.keys:
            if name in features:
                record.features.feature[name].CopyFrom(features[name])
        for name, value in (("score", score), ("logit", logit)):
            record.features.feature[name].float_list.value.append(value)
        return bytes(record.SerializeToString(deterministic=True))


# Loading takes longer than scoring a small file; the module must stay alive.
@functools.lru_cache(maxsize=1)
def _loaded(export: Path) -> tuple[Any, Any]:
    module = load_export(export)
    return module, module.signatures[SIGNATURE]
