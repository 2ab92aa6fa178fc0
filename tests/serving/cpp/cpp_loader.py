"""Calls signatures of exports in a C++ process: builds and runs `serve.cc`."""

import hashlib
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock

from keras_sllmr.compat import tf

SOURCE = Path(__file__).with_name("serve.cc")
BUILD = Path(__file__).parents[3] / "build"


class Call(NamedTuple):
    """One call: a version's folder, the signature's name, its inputs by name."""

    export: Path
    signature: str
    inputs: Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a call gave.

    Args:
        error: the error's kind and text; "" when there was none.
        method: the signature's method name.
        nanoseconds: int64 `[repeat]`. Of each call of the session.
        outputs: by name.
    """

    error: str
    method: str
    nanoseconds: np.ndarray
    outputs: dict[str, np.ndarray]


class Served(NamedTuple):
    """The answers, and the files that the process had mapped."""

    answers: list[Answer]
    mapped: list[str]


def missing() -> str:
    """Why the program cannot be built here; "" when it can."""
    if sys.platform != "linux":
        return "the program links the libraries of TensorFlow's wheel for Linux"
    return "" if _compiler() else "there is no C++ compiler"


def build() -> Path:
    """The program, built unless it has been from this source and TensorFlow.

    Raises:
        RuntimeError: with the compiler's output, when that fails.
    """
    compiler, libraries = _compiler(), tf.sysconfig.get_lib()
    assert compiler is not None
    flags = [*tf.sysconfig.get_compile_flags(), "-O1", "-w", str(SOURCE)]
    flags += [f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-Wl,--no-as-needed"]
    flags += ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"]
    parts = [tf.__version__, compiler, *flags, SOURCE.read_text(encoding="utf-8")]
    program = BUILD / f"serve-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"
    BUILD.mkdir(exist_ok=True)
    with FileLock(f"{program}.lock"):
        if not program.exists():
            beside = program.with_suffix(".new")
            command = [compiler, *flags, "-o", str(beside)]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{SOURCE} was not built:\n{done.stderr}")
            beside.rename(program)
    return program


def serve(
    calls: Sequence[Call], *, repeat: int = 1, warmup: int = 0, threads: int = 0
) -> Served:
    """Calls signatures in a new process, which loads each export once.

    Args:
        calls: to make, in a random order in each round.
        repeat: int. Rounds that are timed.
        warmup: int. Rounds before them.
        threads: int. TensorFlow's; 0 lets it choose.

    Raises:
        RuntimeError: when an export cannot be loaded, or the process crashes.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = {"--warmup": warmup, "--repeat": repeat, "--threads": threads}
        command = [str(build()), *(str(x) for pair in options.items() for x in pair)]
        command.append(folder)
        for n, call in enumerate(calls):
            request = Path(folder, f"request-{n}")
            request.write_bytes(_request(call.inputs))
            command += [str(call.export), call.signature, str(request)]
        # Nothing of this process's environment: no PYTHONPATH, no virtual environment.
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "2"}
        done = subprocess.run(
            command, check=False, capture_output=True, env=quiet, errors="replace"
        )
        if done.returncode:
            raise RuntimeError(f"ended with {done.returncode}: {done.stderr.strip()}")
        answers = [
            _answer(Path(folder, str(n)).read_bytes()) for n in range(len(calls))
        ]
        mapped = Path(folder, "maps").read_text().splitlines()
        return Served(answers, sorted({x.split()[-1] for x in mapped if "/" in x}))


def _compiler() -> str | None:
    names = (os.environ.get("CXX"), "g++", "clang++", "c++")
    return next(filter(None, (shutil.which(name) for name in names if name)), None)


def _request(inputs: Mapping[str, Any]) -> bytes:
    texts: list[bytes] = []
    for name, value in inputs.items():
        proto = tf.make_tensor_proto(value)
        texts += [name.encode(), proto.SerializeToString()]
    return b"".join(struct.pack("<Q", len(text)) + text for text in texts)


def _answer(content: bytes) -> Answer:
    error, method, nanoseconds, *texts = _texts(content)
    proto = type(tf.make_tensor_proto(0))
    outputs = {
        name.decode(): tf.make_ndarray(proto.FromString(tensor))
        for name, tensor in zip(texts[::2], texts[1::2], strict=True)
    }
    times = np.frombuffer(nanoseconds, "<i8")
    return Answer(error.decode(), method.decode(), times, outputs)


def _texts(content: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(content):
        (size,) = struct.unpack_from("<Q", content, at)
        yield content[at + 8 : at + 8 + size]
        at += 8 + size
