import random

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from keras_sllmr.compat import tf
from keras_sllmr.errors import StoreError
from keras_sllmr.io.hashing import file_sha256
from keras_sllmr.store.columns import ColumnSpec
from keras_sllmr.store.schema import (
    TABLE_VIEWS,
    VIEWS,
    parsing_spec,
    read_columns,
    vocabulary_view,
    write_schema,
)


@pytest.fixture
def path(tmp_path):
    write_schema(tmp_path / "schema.pbtxt")
    return tmp_path / "schema.pbtxt"


def test_is_tensorflow_metadata(path):
    schema = text_format.Parse(path.read_text(), schema_pb2.Schema())
    features = {feature.name: feature for feature in schema.feature}
    assert len(features) == len(schema.feature)
    assert set(features) == {name for columns in VIEWS.values() for name in columns}
    assert sorted(schema.default_environment) == sorted(VIEWS)
    for name, feature in features.items():
        views = {view for view, columns in VIEWS.items() if name in columns}
        assert set(feature.in_environment) == views
        assert set(feature.not_in_environment) == set(VIEWS) - views


def test_same_bytes_every_time(path, tmp_path):
    write_schema(tmp_path / "again.pbtxt")
    assert (tmp_path / "again.pbtxt").read_bytes() == path.read_bytes()


def test_same_bytes_as_ever(path):
    digest = "8282208fe3fbd3468c80a3d77a618342134a8f7e9c060a95b945c2d010d73ff1"
    assert file_sha256(path) == digest  # or stores' fingerprints change
    assert read_columns(path) == ()


def test_columns_come_back_by_entity(tmp_path):
    specs = [
        ColumnSpec("hour", "context", "numeric"),
        ColumnSpec("tags", "context", "multi"),
        ColumnSpec("brand", "item", "categorical"),
        ColumnSpec("age", "user", "numeric"),
    ]
    path = tmp_path / "schema.pbtxt"
    write_schema(path, {spec: 3 for spec in specs})
    assert read_columns(path) == (specs[3], specs[2], specs[0], specs[1])
    spec = parsing_spec(path, "context_columns")
    assert spec["hour"] == tf.io.FixedLenFeature([], tf.float32)
    assert isinstance(spec["tags"], tf.io.RaggedFeature)
    assert spec["tags"].dtype == tf.int64
    vocabulary = parsing_spec(path, vocabulary_view("brand"))
    assert vocabulary == {"category": tf.io.FixedLenFeature([], tf.string)}
    with pytest.raises(StoreError, match="has no view named 'hour_vocabulary'"):
        parsing_spec(path, vocabulary_view("hour"))


@pytest.mark.parametrize("view", VIEWS)
def test_spec(path, view):
    spec = parsing_spec(path, view)
    types = {"BYTES": tf.string, "INT": tf.int64, "FLOAT": tf.float32}
    assert set(spec) == set(VIEWS[view])
    for name, (kind, valency) in VIEWS[view].items():
        one = isinstance(spec[name], tf.io.FixedLenFeature)
        assert spec[name].dtype == types[kind] and one == (valency == "one")


@pytest.mark.parametrize("view", TABLE_VIEWS)
def test_a_table_has_a_schema_of_its_own_views(path, tmp_path, view):
    write_schema(tmp_path / "table.pbtxt", views=[view])
    assert set(parsing_spec(tmp_path / "table.pbtxt", view)) == set(TABLE_VIEWS[view])
    for schema, other in ((tmp_path / "table.pbtxt", "attribute"), (path, view)):
        with pytest.raises(StoreError, match=f"has no view named '{other}'"):
            parsing_spec(schema, other)


def test_unknown_view(path):
    with pytest.raises(StoreError, match="has no view named 'clicks'"):
        parsing_spec(path, "clicks")


def test_missing(tmp_path):
    with pytest.raises(StoreError, match="No schema at .*Is this a store"):
        parsing_spec(tmp_path / "schema.pbtxt", "user_history")


@pytest.mark.parametrize("content", [b"feature {", b"\xff\xfe", b"colour: 1"])
def test_not_a_schema(path, content):
    path.write_bytes(content)
    with pytest.raises(StoreError, match="schema.pbtxt is not a valid schema"):
        parsing_spec(path, "user_history")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name: "history"', 'name: "histery"'),
        ("type: INT", "type: FLOAT"),
        ("type: INT", "type: STRUCT"),
        ("value_count {\n    min: 0\n  }\n  type: INT", "type: INT\n  shape {\n  }"),
    ],
)
def test_another_layout(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(StoreError, match="does not describe the view 'user_history'"):
        parsing_spec(path, "user_history")


def test_empty_schema(path):
    path.write_text("")
    with pytest.raises(StoreError, match="has no view named 'attribute'"):
        parsing_spec(path, "attribute")


def test_flipped_bits_are_a_store_error_or_harmless(path):
    random_, whole = random.Random(0), path.read_bytes()
    expected = {view: parsing_spec(path, view) for view in VIEWS}
    for _ in range(60):
        content = bytearray(whole)
        content[random_.randrange(len(content))] ^= 1 << random_.randrange(8)
        path.write_bytes(content)
        for view, spec in expected.items():
            try:
                assert parsing_spec(path, view) == spec
            except StoreError:
                pass
