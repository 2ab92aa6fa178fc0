"""LLM-CF: retrieved, labelled examples of a row as part of a backbone's input."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_sllmr.backbones.fields import Fields
from keras_sllmr.backbones.ranker import Inject
from keras_sllmr.compat import keras
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.example_rows import ExampleRows
from keras_sllmr.layers.in_context import InContext

#: names of an example's label and its chain's vector, which no column can have.
LABEL, CHAIN = "label", "chain.vector"


def in_context(
    features: Mapping[str, np.ndarray],
    labels: np.ndarray,
    chains: np.ndarray,
    **options: Any,
) -> Inject:
    """Makes what a backbone takes as `inject`: a transformer over a row's examples.

    The examples are frozen tables inside the model, looked up by the input `examples`;
    their fields are embedded as the row's own are, a history by its mean.

    Args:
        features: of the examples, `[P + 1, ...]` each, the backbone's but for
            `FeatureSpec.knowledge_inputs`; row 0 is no example.
        labels: int `[P + 1]`. 0 or 1.
        chains: float `[P + 1, t]`. Vectors of the chains of thought.
        **options: of `layers.InContext`.

    Raises:
        ConfigError: when the backbone's spec has no `examples`.

    Example:
        >>> from keras_sllmr.backbones.deepfm import deepfm
        >>> from keras_sllmr.backbones.features import FeatureSpec
        >>> spec = FeatureSpec(5, 7, 0, history_length=2, examples=4)
        >>> pool = {"item": np.array([0, 3]), "history": np.array([[0, 0], [0, 1]])}
        >>> reason = in_context(pool, np.array([0, 1]), np.ones([2, 6]))
        >>> deepfm(spec, embedding_dim=4, inject=reason).output_shape
        (None, 1)

    Reference:
        Sun et al., "Large language models enhanced collaborative filtering", CIKM 2024.
    """
    tables = {
        name: np.asarray(x, np.float32 if x.dtype.kind == "f" else np.int32)
        for name, x in {**features, LABEL: labels, CHAIN: chains}.items()
    }

    def inject(fields: Fields) -> Any:
        if "examples" not in fields.inputs:
            raise ConfigError(
                "A transformer over examples needs their indices. Received: the inputs "
                f"{', '.join(fields.inputs)}. Set `examples` of the FeatureSpec."
            )
        index = fields.inputs["examples"]
        rows = ExampleRows.of(tables, name="examples_of_row")(index)
        flat = keras.layers.Flatten(name="flat_row")(fields.embeddings)
        of_examples = keras.layers.Flatten(name="flat_examples")(fields.embed(rows))
        return InContext(**options, name="in_context")(
            [flat, of_examples, rows[CHAIN], rows[LABEL], index]
        )

    return inject
