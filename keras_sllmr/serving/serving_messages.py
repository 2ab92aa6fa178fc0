"""The few messages of TensorFlow Serving's gRPC interface that a client needs.

They are declared here, since the classes of tensorflow-serving-api import TensorFlow,
which takes seconds and hundreds of megabytes that no client has a use for.
"""

from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

#: The API's numbers of the types of tensors that an export takes or gives.
DTYPES = {"float32": 1, "int32": 3, "string": 7}

_TYPES = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _TYPES.TYPE_BOOL,
    "bytes": _TYPES.TYPE_BYTES,
    "float": _TYPES.TYPE_FLOAT,
    "int32": _TYPES.TYPE_INT32,
    "int64": _TYPES.TYPE_INT64,
    "string": _TYPES.TYPE_STRING,
}
# Field: (number, type), the type ending in * when it is repeated. On the wire an
# enumeration is an int32, and a map the repeated message of a key and a value.
MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Int64Value": {"value": (1, "int64")},
    "Any": {"type_url": (1, "string"), "value": (2, "bytes")},
    "ModelSpec": {
        "name": (1, "string"),
        "version": (2, "Int64Value"),
        "signature_name": (3, "string"),
        "version_label": (4, "string"),
    },
    "Dim": {"size": (1, "int64")},
    "TensorShapeProto": {"dim": (2, "Dim*")},
    "TensorProto": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "TensorShapeProto"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "float*"),
        "int_val": (7, "int32*"),
        "string_val": (8, "bytes*"),
    },
    "NamedTensor": {"key": (1, "string"), "value": (2, "TensorProto")},
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "NamedTensor*")},
    "PredictResponse": {"outputs": (1, "NamedTensor*")},
    "TensorInfo": {"dtype": (2, "int32"), "tensor_shape": (3, "TensorShapeProto")},
    "NamedTensorInfo": {"key": (1, "string"), "value": (2, "TensorInfo")},
    "SignatureDef": {
        "inputs": (1, "NamedTensorInfo*"),
        "outputs": (2, "NamedTensorInfo*"),
        "method_name": (3, "string"),
    },
    "NamedSignatureDef": {"key": (1, "string"), "value": (2, "SignatureDef")},
    "SignatureDefMap": {"signature_def": (1, "NamedSignatureDef*")},
    "NamedAny": {"key": (1, "string"), "value": (2, "Any")},
    "GetModelMetadataRequest": {
        "model_spec": (1, "ModelSpec"),
        "metadata_field": (2, "string*"),
    },
    "GetModelMetadataResponse": {"metadata": (2, "NamedAny*")},
    "ModelVersionStatus": {"version": (1, "int64"), "state": (2, "int32")},
    "GetModelStatusRequest": {"model_spec": (1, "ModelSpec")},
    "GetModelStatusResponse": {"model_version_status": (1, "ModelVersionStatus*")},
}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="serving_messages.proto", package="sllmr", syntax="proto3"
    )
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            repeated = kind.endswith("*")
            kind = kind.rstrip("*")
            message.field.add(
                name=field,
                number=number,
                label=_TYPES.LABEL_REPEATED if repeated else _TYPES.LABEL_OPTIONAL,
                type=_SCALARS.get(kind, _TYPES.TYPE_MESSAGE),
                type_name=None if kind in _SCALARS else f".sllmr.{kind}",
            )
    # A pool of its own: TensorFlow's messages may be loaded in this process, too.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"sllmr.{name}")
        )
        for name in MESSAGES
    }


_CLASSES = _classes()


def message(kind: str, /, **fields: Any) -> Any:
    r"""A message by its name in `MESSAGES`.

    Example:
        >>> message("ModelSpec", name="shop").SerializeToString()
        b'\n\x04shop'
    """
    return _CLASSES[kind](**fields)


def parse(name: str, data: bytes) -> Any:
    """A message by its name, out of its bytes."""
    return _CLASSES[name].FromString(data)


def tensor(array: np.ndarray) -> Any:
    """A tensor of an array of float32, int32 or, as objects, of str.

    Example:
        >>> array(tensor(np.array([["é"]], object))).tolist()
        [['é']]
    """
    result = message(
        "TensorProto",
        tensor_shape={"dim": [{"size": size} for size in array.shape]},
    )
    if array.dtype == object:
        result.dtype = DTYPES["string"]
        result.string_val.extend([text.encode("utf-8") for text in array.flat])
    else:
        result.dtype = DTYPES[array.dtype.name]
        result.tensor_content = array.tobytes()
    return result


def array(tensor: Any) -> np.ndarray:
    """The array of a tensor, see `tensor`.

    Raises:
        ValueError: when the tensor is of another type, or values are missing.
    """
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    content = tensor.tensor_content
    if tensor.dtype == DTYPES["string"]:
        values = list(tensor.string_val)
        if content:
            values = _texts(content, int(np.prod(shape)))
        texts = np.empty(len(values), object)
        texts[:] = [value.decode("utf-8", "replace") for value in values]
        return texts.reshape(shape)
    names = {number: name for name, number in DTYPES.items()}
    if tensor.dtype not in names:
        raise ValueError(f"A tensor of the unknown type {tensor.dtype}.")
    dtype = np.dtype(names[tensor.dtype])
    if content:
        return np.frombuffer(content, dtype).reshape(shape)
    values = tensor.float_val if dtype.kind == "f" else tensor.int_val
    return np.array(values, dtype).reshape(shape)


def _texts(content: bytes, count: int) -> list[bytes]:
    """Texts as a server packs them on demand: all lengths, then all bytes."""
    at, lengths = 0, []
    for _ in range(count):
        length = shift = 0
        while True:
            length |= (content[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if not content[at - 1] & 0x80:
                break
        lengths.append(length)
    texts = []
    for length in lengths:
        texts.append(content[at : at + length])
        at += length
    return texts
