"""The real `tensorflow_model_server`, where there is one."""

import contextlib
import os
import shutil
import socket
import subprocess
import time

from keras_sllmr.errors import EndpointError
from keras_sllmr.serving.client import RankClient

VARIABLE = "TENSORFLOW_MODEL_SERVER"
NAME = "tensorflow_model_server"


def model_server():
    """The program's path, or None."""
    return os.environ.get(VARIABLE) or shutil.which(NAME)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serve_for_real(path, log, batching=False):
    """Serves an export by the configuration beside it, once it is loaded.

    Yields the ports of gRPC and REST.
    """
    ports = _free_port(), _free_port()
    command = [
        model_server(),
        f"--port={ports[0]}",
        f"--rest_api_port={ports[1]}",
        f"--model_config_file={path.parent / 'models.config'}",
        f"--monitoring_config_file={path.parent / 'monitoring.config'}",
        "--allow_version_labels_for_unavailable_models",
    ]
    if batching:
        command += [
            "--enable_batching",
            f"--batching_parameters_file={path.parent / 'batching.config'}",
        ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        _wait(process, f"grpc://127.0.0.1:{ports[0]}", path.parent.name, log)
        yield ports
    finally:
        process.terminate()
        process.wait(30)


def _wait(process, url, name, log):
    deadline = time.monotonic() + 60
    with RankClient(url, name, timeout=1) as client:
        while True:
            with contextlib.suppress(EndpointError):
                if "AVAILABLE" in client.status().values():
                    return
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(
                    f"{NAME} did not serve:\n{log.read_text()[-4000:]}"
                )
            time.sleep(0.1)
