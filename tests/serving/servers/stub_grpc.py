"""The gRPC services of tensorflow-serving-api over a `StubModel`."""

import contextlib
import functools
from concurrent import futures

import grpc
from stub_model import INVALID, NOT_FOUND, Refusal
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from keras_sllmr.compat import tf


def _refusing(method):
    @functools.wraps(method)
    def call(self, request, context):
        try:
            return method(self, request)
        except Refusal as refusal:
            return context.abort(refusal.code, refusal.message[:4000])

    return call


class Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, model):
        self._model = model

    @_refusing
    def Predict(self, request):
        spec = self._check(request.model_spec)
        inputs = {}
        for name, proto in request.inputs.items():
            try:
                inputs[name] = tf.make_ndarray(proto)
            except (TypeError, ValueError) as error:
                raise Refusal(INVALID, f"tensor parsing error: {name}") from error
        response = predict_pb2.PredictResponse()
        self._describe(response.model_spec, spec.signature_name)
        for name, value in self._model.predict(spec.signature_name, inputs).items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response

    @_refusing
    def Classify(self, request):
        found = self._of_examples("classify", request)
        response = classification_pb2.ClassificationResponse()
        for classes, scores in zip(found["classes"], found["scores"], strict=True):
            row = response.result.classifications.add()
            for label, score in zip(classes, scores, strict=True):
                row.classes.add(label=label, score=score)
        return response

    @_refusing
    def Regress(self, request):
        response = regression_pb2.RegressionResponse()
        for (value,) in self._of_examples("regress", request)["outputs"]:
            response.result.regressions.add(value=value)
        return response

    @_refusing
    def GetModelMetadata(self, request):
        self._check(request.model_spec)
        if list(request.metadata_field) != ["signature_def"]:
            raise Refusal(INVALID, "Metadata field is not supported")
        found = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in self._model.signatures.items():
            found.signature_def[name].CopyFrom(signature)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        self._describe(response.model_spec)
        response.metadata["signature_def"].Pack(found)
        return response

    def _of_examples(self, method, request):
        spec = self._check(request.model_spec)
        examples = [
            example.SerializeToString()
            for example in request.input.example_list.examples
        ]
        return self._model.of_examples(method, spec.signature_name, examples)

    def _check(self, spec):
        chosen = {spec.WhichOneof("version_choice")}
        self._model.check(
            spec.name,
            version=spec.version.value if chosen == {"version"} else None,
            label=spec.version_label if chosen == {"version_label"} else None,
        )
        return spec

    def _describe(self, spec, signature=""):
        spec.name, spec.version.value = self._model.name, self._model.version
        spec.signature_name = signature


class ModelStatus(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, model):
        self._model = model

    @_refusing
    def GetModelStatus(self, request):
        spec, model = request.model_spec, self._model
        asked = spec.version.value if spec.HasField("version") else model.version
        if spec.name != model.name or asked != model.version:
            raise Refusal(
                NOT_FOUND, f"Could not find any versions of model {spec.name}"
            )
        response = get_model_status_pb2.GetModelStatusResponse()
        state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        response.model_version_status.add(version=model.version, state=state)
        return response


@contextlib.contextmanager
def serve_grpc(model, credentials=None, port=0):
    """Serves a model, on a free port unless one is given; yields the port."""
    unlimited = [("grpc.max_receive_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(4), options=unlimited)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Prediction(model), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        ModelStatus(model), server
    )
    if credentials is None:
        port = server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        port = server.add_secure_port(f"127.0.0.1:{port}", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(grace=None).wait()
