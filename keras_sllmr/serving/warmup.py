"""Warm-up requests in an export, replayed by TensorFlow Serving as it loads a version."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from tensorflow_serving.apis import model_pb2, prediction_log_pb2

from keras_sllmr.compat import tf
from keras_sllmr.serving.requests import RANKINGS, Requests
from keras_sllmr.store.draws import permutation
from keras_sllmr.store.split import LeaveOneOut, Targets

#: TensorFlow Serving's name for the file.
WARMUP_FILE = "tf_serving_warmup_requests"
_USERS = 8
_ROWS = (1, 10, 100)
# Users and candidates of a ranking, and how many of them are wanted.
_RANKINGS = ((1, 100, 10), (1, 1000, 10), (4, 100, 10))


def write_warmup(
    path: Path, requests: Requests, split: LeaveOneOut, signatures: Iterable[str]
) -> int:
    """Writes requests of typical sizes for every signature.

    The first call of a signature is slow, and clients wait for it, unless it was made
    while the version was loaded. The requests are of real rows: the validation rows of
    8 users, repeated, with the last items of their histories. So the file holds
    these users' item ids and cells, and their own ids if the model has a user field,
    whose vocabulary is in the export anyway.

    Args:
        path: the file, an uncompressed TFRecord of `PredictionLog`.
        requests: makes the inputs.
        split: the store's split.
        signatures: names, see `RawIdScorer.signatures`.

    Returns:
        How many requests were written.
    """
    count = 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature in signatures:
            for inputs in _inputs(signature, requests, split):
                writer.write(prediction_log(signature, inputs).SerializeToString())
                count += 1
    return count


def prediction_log(
    signature: str, inputs: Mapping[str, np.ndarray], model: str = ""
) -> prediction_log_pb2.PredictionLog:
    """A request as a log: of Classify, of Regress, or else of Predict.

    Args:
        signature: see `RawIdScorer.signatures`.
        inputs: its inputs, see `Requests`.
        model: str. The served model's name; a warm-up needs none.
    """
    spec = model_pb2.ModelSpec(name=model, signature_name=signature)
    log = prediction_log_pb2.PredictionLog()
    if signature in ("classify", "regress"):
        of_kind = log.classify_log if signature == "classify" else log.regress_log
        of_kind.request.model_spec.CopyFrom(spec)
        for example in inputs["inputs"]:
            of_kind.request.input.example_list.examples.add().ParseFromString(example)
        return log
    log.predict_log.request.model_spec.CopyFrom(spec)
    for name, array in inputs.items():
        proto = tf.make_tensor_proto(array)
        log.predict_log.request.inputs[name].CopyFrom(proto)
    return log


def _inputs(
    signature: str, requests: Requests, split: LeaveOneOut
) -> Iterator[dict[str, np.ndarray]]:
    every = split.validation
    some = permutation(len(every), 0)[:_USERS]
    if signature not in RANKINGS:
        for rows in _ROWS:
            yield requests.rows(_rows(every, np.resize(some, rows)), signature)
        return
    items = permutation(split.store.n_items, 0) + 1
    for users, width, k in _RANKINGS:
        targets = _rows(every, np.resize(some, users))
        candidates = np.resize(items, (users, width))
        yield requests.ranking(targets, candidates, np.full(users, k), signature)


def _rows(targets: Targets, rows: np.ndarray) -> Targets:
    return Targets(targets.users[rows], targets.positions[rows], targets.items[rows])
