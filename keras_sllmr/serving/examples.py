"""Rows of requests as serialised tf.Example, as batch jobs and Classify carry them."""

from collections.abc import Sequence
from typing import Any

from keras_sllmr.compat import tf


def parse_examples(serialised: Any, specs: Sequence[Any]) -> dict[str, Any]:
    """The inputs of `serving_default` out of serialised tf.Example.

    A feature has the input's name. A row `[N]` is one value; a list `[N, V]` is any
    number of them, in their order. A missing feature is unknown: "", NaN or no value.

    Args:
        serialised: string `[N]`.
        specs: `tf.TensorSpec`s of the inputs.

    Returns:
        A tensor an input; lists are padded on the right with "".
    """

    def feature(spec: Any) -> Any:
        if spec.shape.rank == 2:
            return tf.io.RaggedFeature(spec.dtype)
        unknown = "" if spec.dtype == tf.string else float("nan")
        return tf.io.FixedLenFeature([], spec.dtype, default_value=unknown)

    parsed = tf.io.parse_example(
        serialised, {spec.name: feature(spec) for spec in specs}
    )
    return {
        name: x.to_tensor("") if isinstance(x, tf.RaggedTensor) else x
        for name, x in parsed.items()
    }
