"""Answers one request with an export, with nothing but TensorFlow loaded.

`python -m keras_sllmr.serving.fresh_process EXPORT REQUEST RESPONSE` reads the
inputs of `serving_default` from REQUEST and writes its outputs to RESPONSE, both JSON.
"""

import json
import sys
from pathlib import Path

# Not through `compat`: an export must not need Keras or DeepCTR.
import tensorflow as tf


def answer(export: str, request: str, response: str) -> None:
    """Calls the export once.

    Args:
        export: the exported version's folder.
        request: JSON file of input name to strings or numbers.
        response: JSON file to write, of output name to numbers.
    """
    model = tf.saved_model.load(export)
    inputs = json.loads(Path(request).read_text(encoding="utf-8"))
    serve = model.signatures["serving_default"]
    specs = serve.structured_input_signature[1]
    outputs = serve(
        **{
            name: tf.constant(value, specs[name].dtype)
            for name, value in inputs.items()
        }
    )
    found = {name: value.numpy().tolist() for name, value in outputs.items()}
    Path(response).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    answer(*sys.argv[1:])
