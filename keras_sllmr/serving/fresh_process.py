"""Answers requests with an export, with nothing but TensorFlow loaded.

`python -m keras_sllmr.serving.fresh_process EXPORT REQUESTS RESPONSES` reads inputs by
signature from REQUESTS and writes the outputs to RESPONSES, see `pack`.
"""

import base64
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Not through `compat`: an export must not need Keras or DeepCTR.
import tensorflow as tf


def pack(tensors: Mapping[str, Mapping[str, Any]]) -> str:
    """Arrays by signature and name as JSON, each a TensorProto in Base64."""

    def packed(array: Any) -> str:
        proto = tf.make_tensor_proto(array).SerializeToString()
        return base64.b64encode(proto).decode("ascii")

    return json.dumps(
        {
            signature: {name: packed(array) for name, array in arrays.items()}
            for signature, arrays in tensors.items()
        }
    )


def unpack(text: str) -> dict[str, dict[str, Any]]:
    """What `pack` packed, as NumPy arrays; texts are bytes."""
    tensor_proto = type(tf.make_tensor_proto(0))

    def unpacked(packed: str) -> Any:
        return tf.make_ndarray(tensor_proto.FromString(base64.b64decode(packed)))

    return {
        signature: {name: unpacked(packed) for name, packed in arrays.items()}
        for signature, arrays in json.loads(text).items()
    }


def answer(export: str, requests: str, responses: str) -> None:
    """Calls signatures of the export, each once.

    Args:
        export: the exported version's folder.
        requests: file of inputs by signature.
        responses: file to write, of outputs by signature.
    """
    model = tf.saved_model.load(export)
    found = {}
    for signature, inputs in unpack(Path(requests).read_text("utf-8")).items():
        outputs = model.signatures[signature](
            **{name: tf.constant(array) for name, array in inputs.items()}
        )
        found[signature] = {name: x.numpy() for name, x in outputs.items()}
    Path(responses).write_text(pack(found), encoding="utf-8")


if __name__ == "__main__":
    answer(*sys.argv[1:])
