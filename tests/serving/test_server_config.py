from pathlib import Path

import pytest
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.serving.server_config import (
    BATCHING,
    MODELS,
    MONITORING,
    ServerConfig,
    label_version,
    versions,
)

_TYPES = descriptor_pb2.FieldDescriptorProto
# session_bundle_config.proto and monitoring_config.proto of TensorFlow Serving, which
# tensorflow-serving-api lacks: message to field to (number, type).
_MESSAGES = {
    "BatchingParameters": {
        "max_batch_size": (1, "Int64Value"),
        "batch_timeout_micros": (2, "Int64Value"),
        "max_enqueued_batches": (3, "Int64Value"),
        "num_batch_threads": (4, "Int64Value"),
        "thread_pool_name": (5, "StringValue"),
        "enable_large_batch_splitting": (8, "BoolValue"),
        "max_execution_batch_size": (9, "Int64Value"),
        "pad_variable_length_inputs": (7, _TYPES.TYPE_BOOL),
    },
    "PrometheusConfig": {
        "enable": (1, _TYPES.TYPE_BOOL),
        "path": (2, _TYPES.TYPE_STRING),
    },
    "MonitoringConfig": {"prometheus_config": (1, ".sllmr.test.PrometheusConfig")},
}


@pytest.fixture(scope="module")
def messages():
    file = descriptor_pb2.FileDescriptorProto(
        name="config.proto",
        package="sllmr.test",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            added = message.field.add(name=field, number=number, label=1)
            if isinstance(kind, str):
                added.type = _TYPES.TYPE_MESSAGE
                scope = "" if kind.startswith(".") else ".google.protobuf."
                added.type_name = scope + kind
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"sllmr.test.{name}")
        )
        for name in _MESSAGES
    }


@pytest.fixture
def folder(tmp_path):
    """A model's folder with the versions 1, 2 and 10."""
    for version in (1, 2, 10):
        (tmp_path / "shop" / str(version)).mkdir(parents=True)
    return tmp_path / "shop"


def models(folder: Path):
    server = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((folder / MODELS).read_text(encoding="utf-8"), server)
    return list(server.model_config_list.config)


def labelled(folder, **labels):
    config = ServerConfig(folder, name="shop")
    for label, version in labels.items():
        config.label(version, [label], move=True)
    config.write()
    return config


def test_without_labels_the_latest_is_served(folder):
    ServerConfig(folder, name="shop").write()
    (model,) = models(folder)
    assert (model.name, model.base_path) == ("shop", "/models/shop")
    assert model.model_platform == "tensorflow"
    assert model.model_version_policy.latest.num_versions == 1
    assert not model.version_labels
    assert versions(folder) == [1, 2, 10]


def test_labelled_versions_and_the_latest_are_served(folder):
    labelled(folder, stable=1, canary=1)
    (model,) = models(folder)
    assert dict(model.version_labels) == {"stable": 1, "canary": 1}
    assert list(model.model_version_policy.specific.versions) == [1, 10]


def test_another_export_keeps_labels_and_the_base_path(folder):
    ServerConfig(folder, name="shop", base_path="/srv/shop").write()
    labelled(folder, stable=1)
    (folder / "11").mkdir()
    labelled(folder, canary=11)
    (model,) = models(folder)
    assert dict(model.version_labels) == {"stable": 1, "canary": 11}
    assert list(model.model_version_policy.specific.versions) == [1, 11]
    assert model.base_path == "/srv/shop"


def test_a_label_is_moved_only_when_it_may_be(folder):
    config = labelled(folder, stable=1)
    config.label(1, ["stable"], move=False)
    with pytest.raises(ConfigError, match="'stable' is that of version 1.*sllmr label"):
        config.label(2, ["stable"], move=False)
    assert label_version(folder / "2", ["stable", "canary"]) == {
        "canary": 2,
        "stable": 2,
    }
    assert list(models(folder)[0].model_version_policy.specific.versions) == [2, 10]


def test_labels_of_removed_versions_go(folder):
    labelled(folder, stable=1, canary=2)
    (folder / "2").rmdir()
    assert labelled(folder).labels == {"stable": 1}


@pytest.mark.parametrize("label", ["", "a b", "a/b", "a-b", "é"])
def test_labels_are_parts_of_a_url(folder, label):
    with pytest.raises(ConfigError, match="letters, digits and '_'"):
        ServerConfig(folder, name="shop").label(1, [label], move=True)


def test_what_an_operator_adds_stays(folder):
    labelled(folder, stable=1)
    server = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((folder / MODELS).read_text(), server)
    logging = server.model_config_list.config[0].logging_config
    logging.sampling_config.sampling_rate = 0.5
    server.model_config_list.config.add(name="other", base_path="/models/other")
    (folder / MODELS).write_text(text_format.MessageToString(server))
    for name in (BATCHING, MONITORING):
        (folder / name).write_text("# tuned\n")
    labelled(folder, canary=10)
    ours, other = models(folder)
    assert ours.logging_config.sampling_config.sampling_rate == 0.5
    assert dict(ours.version_labels) == {"stable": 1, "canary": 10}
    assert (other.name, other.base_path) == ("other", "/models/other")
    for name in (BATCHING, MONITORING):
        assert (folder / name).read_text() == "# tuned\n"


def test_a_damaged_file_is_named_and_left_alone(folder):
    (folder / MODELS).write_text("model_config_list {")
    with pytest.raises(StoreError, match="models.config cannot be read"):
        ServerConfig(folder, name="shop")
    assert (folder / MODELS).read_text() == "model_config_list {"


def test_batching_never_pads_and_takes_large_requests(folder, messages):
    ServerConfig(folder, name="shop").write()
    text = (folder / BATCHING).read_text()
    found = text_format.Parse(text, messages["BatchingParameters"]())
    assert not found.pad_variable_length_inputs
    assert found.enable_large_batch_splitting.value
    # The server's own rules.
    assert 0 < found.max_execution_batch_size.value <= found.max_batch_size.value


def test_monitoring_is_for_prometheus(folder, messages):
    ServerConfig(folder, name="shop").write()
    text = (folder / MONITORING).read_text()
    found = text_format.Parse(text, messages["MonitoringConfig"]())
    assert found.prometheus_config.enable
    assert found.prometheus_config.path == "/monitoring/prometheus/metrics"


def test_only_versions_have_labels(folder):
    for path in (folder, folder / "3", folder / "x"):
        with pytest.raises(StoreError, match="not an exported version"):
            label_version(path, ["stable"])
    assert not (folder / MODELS).exists()
