"""An export behind the checks of TensorFlow Serving, with its status codes.

The graph runs in a session, as there: nothing but its own kernels looks at shapes.
"""

import grpc
import numpy as np
from tensorflow.core.protobuf import config_pb2

from keras_sllmr.compat import tf

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
CODES = {code.value[0]: code for code in grpc.StatusCode}
_METHOD = "tensorflow/serving/{}"


class Refusal(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message


class StubModel:
    """One loaded version of one model."""

    def __init__(self, path, labels=None):
        self.name, self.version = path.parent.name, int(path.name)
        self.labels = labels or {}
        graph = tf.Graph()
        with graph.as_default():
            self._session = tf.compat.v1.Session(graph=graph)
            meta = tf.compat.v1.saved_model.load(self._session, ["serve"], str(path))
        self.signatures = dict(meta.signature_def)
        self._callables = {}

    def close(self):
        self._session.close()

    def check(self, name, version=None, label=None):
        """As `ServerCore::ServableRequestFromModelSpec` and the manager behind it."""
        if not name:
            raise Refusal(INVALID, "ModelSpec has no name specified.")
        if label is not None:
            if name != self.name or label not in self.labels:
                raise Refusal(INVALID, f"Unrecognized servable version label: {label}")
            version = self.labels[label]
        if name != self.name or version not in (None, self.version):
            asked = (
                f"Latest({name})" if version is None else f"Specific({name}, {version})"
            )
            raise Refusal(NOT_FOUND, f"Servable not found for request: {asked}")

    def predict(self, signature, inputs):
        """As `RunPredict`, with arrays by their names."""
        name = signature or "serving_default"
        if name not in self.signatures:
            raise Refusal(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{name}" not found.',
            )
        takes = self.signatures[name].inputs
        if len(inputs) != len(takes):
            missing, extra = set(takes) - set(inputs), set(inputs) - set(takes)
            raise Refusal(
                INVALID,
                f"input size does not match signature: {len(inputs)}!={len(takes)}. "
                f"Sent extra: {extra}. Missing but required: {missing}.",
            )
        if set(inputs) != set(takes):
            raise Refusal(INVALID, f"Inputs contains invalid name: {sorted(inputs)}")
        return self._run(name, inputs)

    def of_examples(self, method, signature, examples):
        """As `RunClassify` and `RunRegress`, with serialised tf.Example."""
        name = signature or "serving_default"
        found = self.signatures.get(name)
        if found is None:
            raise Refusal(INVALID, f"No signature was found with the name: {name}")
        if found.method_name != _METHOD.format(method):
            raise Refusal(INVALID, f"Expected {method} signature. Was: {name}")
        if not examples:
            raise Refusal(INVALID, "Input is empty.")
        return self._run(name, {"inputs": np.array(examples, object)})

    def _run(self, name, inputs):
        signature = self.signatures[name]
        order, outputs = sorted(signature.inputs), sorted(signature.outputs)
        for place, key in enumerate(order):
            expected = tf.as_dtype(signature.inputs[key].dtype)
            found = inputs[key].dtype
            if found != expected.as_numpy_dtype:
                raise Refusal(
                    INVALID,
                    f"Expects arg[{place}] to be {expected.name} but {found} is given",
                )
        if name not in self._callables:
            # Unlike `Session.run`, this feeds values of any shape, as C++ does.
            self._callables[name] = self._session._make_callable_from_options(
                config_pb2.CallableOptions(
                    feed=[signature.inputs[key].name for key in order],
                    fetch=[signature.outputs[key].name for key in outputs],
                )
            )
        try:
            values = self._callables[name](*(inputs[key] for key in order))
        except tf.errors.OpError as error:
            raise Refusal(CODES[error.error_code], error.message) from error
        return dict(zip(outputs, values, strict=True))
