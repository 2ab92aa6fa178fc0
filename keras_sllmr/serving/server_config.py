"""TensorFlow Serving's configuration files, beside an export's versions."""

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.io.atomic import replace_file
from keras_sllmr.io.lock import exclusive

MODELS, BATCHING, MONITORING = "models.config", "batching.config", "monitoring.config"

_MODELS_HEAD = """\
# For --model_config_file. Exports rewrite this model's entry.
"""
_BATCHING = """\
# For --enable_batching --batching_parameters_file. Tune it: exports keep this file.
#
# Requests are put together along their first dimension, so all others must be equal:
# clients of `serving_default` and `rank` pad histories (and candidates) with "" to one
# length; those of `serve_examples`, Classify and Regress need not. The server's own
# padding stays off: it repeats a request's first value, here its oldest item, and gives
# wrong scores without an error.
max_batch_size { value: 4096 }
enable_large_batch_splitting { value: true }
max_execution_batch_size { value: 1024 }
batch_timeout_micros { value: 1000 }
max_enqueued_batches { value: 100 }
pad_variable_length_inputs: false
"""
_MONITORING = """\
# For --monitoring_config_file, with --rest_api_port. Exports keep this file.
#
# Metrics carry the label model_name: `:tensorflow:serving:request_count` by status,
# `:tensorflow:serving:request_latency` in microseconds by API.
prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""


class ServerConfig:
    """The configuration files of one model: `models.config` and two beside it.

    The server follows `models.config`, read again every
    `--model_config_file_poll_wait_seconds`. It serves the latest version and all that
    have a label; clients ask for `/v1/models/<name>/labels/stable`, or over gRPC for a
    `version_label`. So a roll-out is an export, a look at it by its number or as a
    `canary`, and `stable` moved to it; a roll-back is `stable` moved back.

    A server with `--allow_version_labels_for_unavailable_models` takes new labels at
    once, but moves one only to a version that it has loaded, and else refuses the whole
    file. So an export gives new labels alone, and `label_version` moves them.

    What else an operator writes into it stays: other models, and logging of this one.

    Args:
        folder: the model's folder, which holds the versions.
        name: str. The served model's name, `model_name` in the server's metrics.
        base_path: str. The folder as the server sees it. Defaults to what the file
            says, else to `/models/<name>`.

    Raises:
        StoreError: when there is a `models.config` that cannot be read.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "shop"
        >>> (folder / "3").mkdir(parents=True)
        >>> config = ServerConfig(folder, name="shop")
        >>> config.label(3, ["stable"], move=False)
        >>> config.write()
        >>> ServerConfig(folder, name="shop").labels
        {'stable': 3}
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        name: str,
        base_path: str | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._server = _read(self.folder / MODELS)
        models = self._server.model_config_list.config
        found = [model for model in models if model.name == name]
        self._model = found[0] if found else models.add(name=name)
        self._model.model_platform = "tensorflow"
        if base_path is not None or not self._model.base_path:
            self._model.base_path = base_path or f"/models/{name}"

    @property
    def labels(self) -> dict[str, int]:
        """Each label's version, by name."""
        return dict(sorted(self._model.version_labels.items()))

    def label(self, version: int, labels: Collection[str], *, move: bool) -> None:
        """Gives labels to a version.

        Args:
            version: int ≥ 1.
            labels: names of letters, digits and '_', such as `stable` and `canary`.
            move: bool. Take them from the versions that have them? Only to a version
                that the server has already loaded.

        Raises:
            ConfigError: on another name, or when a label had to be moved and must not.
        """
        for label in labels:
            if not re.fullmatch(r"[A-Za-z0-9_]+", label):
                raise ConfigError(
                    "A version's label must be made of letters, digits and '_', e.g. "
                    f"'stable'. Received: {label!r}"
                )
            holder = self.labels.get(label, version)
            if holder != version and not move:
                raise ConfigError(
                    f"The label {label!r} is that of version {holder}, and a server "
                    "moves it only to a version that it has loaded. Export without it, "
                    "then move it with `sllmr label`."
                )
            self._model.version_labels[label] = version

    def write(self) -> None:
        """Writes the files, each whole or not at all.

        Labels of versions that are no longer there are dropped, as the server refuses
        a file with any. Only `models.config` is ever written over.

        Raises:
            StoreError: when the disk is full.
        """
        there = versions(self.folder)
        for label, version in self.labels.items():
            if version not in there:
                del self._model.version_labels[label]
        policy = self._model.model_version_policy
        policy.Clear()
        if self.labels:
            served = {there[-1], *self.labels.values()}
            policy.specific.versions.extend(sorted(served))
        else:
            policy.latest.num_versions = 1
        text = text_format.MessageToString(self._server, as_utf8=True)
        _write(self.folder / MODELS, _MODELS_HEAD + text)
        for name, content in ((BATCHING, _BATCHING), (MONITORING, _MONITORING)):
            if not (self.folder / name).exists():
                _write(self.folder / name, content)


def label_version(
    path: str | os.PathLike[str], labels: Collection[str]
) -> dict[str, int]:
    """Moves labels to an exported version, which the server must have loaded.

    Args:
        path: the version's folder, `<folder>/<name>/<version>`.
        labels: see `ServerConfig.label`.

    Returns:
        Each label's version, by name.

    Raises:
        ConfigError: on a label that a URL cannot have.
        StoreError: when there is no such version, or an export of this model goes on.
    """
    path = Path(os.path.abspath(path))
    if not (path.name.isdecimal() and path.is_dir()):
        raise StoreError(
            f"{path} is not an exported version, <folder>/<name>/<version>. Export one "
            "with `sllmr export`."
        )
    with exclusive(path.parent):
        config = ServerConfig(path.parent, name=path.parent.name)
        config.label(int(path.name), labels, move=True)
        config.write()
    return config.labels


def versions(folder: Path) -> list[int]:
    """The versions in a model's folder, the latest last."""
    return sorted(int(p.name) for p in folder.glob("*") if p.name.isdecimal())


def _read(path: Path) -> Any:
    server = model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(path.read_text(encoding="utf-8"), server)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, text_format.ParseError) as error:
        raise StoreError(
            f"{path} cannot be read as a ModelServerConfig in text form: {error}. "
            "Mend it, or remove it to have it written anew."
        ) from error
    return server


def _write(path: Path, text: str) -> None:
    with replace_file(path) as beside:
        beside.write_text(text, encoding="utf-8")
