import numpy as np
import pytest
from google.protobuf import any_pb2, wrappers_pb2
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from keras_sllmr.compat import tf
from keras_sllmr.serving import serving_messages
from keras_sllmr.serving.serving_messages import MESSAGES, array, message, parse, tensor

_THEIRS = {
    "Int64Value": wrappers_pb2.Int64Value,
    "Any": any_pb2.Any,
    "Dim": tensor_shape_pb2.TensorShapeProto.Dim,
    "TensorShapeProto": tensor_shape_pb2.TensorShapeProto,
    "TensorProto": tensor_pb2.TensorProto,
    "TensorInfo": meta_graph_pb2.TensorInfo,
    "SignatureDef": meta_graph_pb2.SignatureDef,
    "ModelSpec": model_pb2.ModelSpec,
    "NamedTensor": predict_pb2.PredictRequest.InputsEntry,
    "PredictRequest": predict_pb2.PredictRequest,
    "PredictResponse": predict_pb2.PredictResponse,
    "NamedTensorInfo": meta_graph_pb2.SignatureDef.InputsEntry,
    "NamedSignatureDef": get_model_metadata_pb2.SignatureDefMap.SignatureDefEntry,
    "SignatureDefMap": get_model_metadata_pb2.SignatureDefMap,
    "NamedAny": get_model_metadata_pb2.GetModelMetadataResponse.MetadataEntry,
    "GetModelMetadataRequest": get_model_metadata_pb2.GetModelMetadataRequest,
    "GetModelMetadataResponse": get_model_metadata_pb2.GetModelMetadataResponse,
    "ModelVersionStatus": get_model_status_pb2.ModelVersionStatus,
    "GetModelStatusRequest": get_model_status_pb2.GetModelStatusRequest,
    "GetModelStatusResponse": get_model_status_pb2.GetModelStatusResponse,
}


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_fields_are_those_of_the_api(name):
    theirs = _THEIRS[name].DESCRIPTOR.fields_by_name
    for field in message(name).DESCRIPTOR.fields:
        other = theirs[field.name]
        assert (field.number, field.is_repeated) == (other.number, other.is_repeated)
        enumeration = other.type == other.TYPE_ENUM
        assert field.type == (field.TYPE_INT32 if enumeration else other.type)


def test_dtypes_are_those_of_tensorflow():
    for name, number in serving_messages.DTYPES.items():
        assert tf.as_dtype(name).as_datatype_enum == number


@pytest.mark.parametrize(
    "values",
    [
        np.float32([[0.5, -1], [np.inf, 3e-9]]),
        np.int32([1, -2, 2**31 - 1]),
        np.array([["a", ""], ["é\x00", "日本"]], object),
        np.empty((2, 0), object),
        np.empty((0, 3), np.float32),
    ],
)
def test_tensors_to_tensorflow_and_back(values):
    sent = tensor_pb2.TensorProto.FromString(tensor(values).SerializeToString())
    theirs = tf.make_ndarray(sent)
    assert theirs.shape == values.shape
    assert theirs.ravel().tolist() == [
        value.encode() if isinstance(value, str) else value
        for value in values.ravel().tolist()
    ]
    answered = tf.make_tensor_proto(theirs, dtype=sent.dtype).SerializeToString()
    back = array(parse("TensorProto", answered))
    assert back.shape == values.shape and back.dtype == values.dtype
    assert back.tolist() == values.tolist()


def test_values_of_fields():
    fields = {"dtype": 1, "tensor_shape": {"dim": [{"size": 2}]}, "float_val": [1, 2.5]}
    assert array(message("TensorProto", **fields)).tolist() == [1, 2.5]
    fields |= {"dtype": 3, "int_val": [7, -8]}
    assert array(message("TensorProto", **fields)).tolist() == [7, -8]
    with pytest.raises(ValueError, match="unknown type 9"):
        array(message("TensorProto", **fields | {"dtype": 9}))
    with pytest.raises(ValueError, match="reshape"):
        array(message("TensorProto", **fields | {"int_val": [7]}))


def test_packed_texts():
    """All lengths, as varints, then all bytes, as the server's flag has it."""
    texts = ["é", "", "a" * 127, "b" * 128, "c" * 300]
    packed = message(
        "TensorProto",
        dtype=7,
        tensor_shape={"dim": [{"size": 5}]},
        tensor_content=b"\x02\x00\x7f\x80\x01\xac\x02" + "".join(texts).encode(),
    )
    assert array(packed).tolist() == texts
