import dataclasses
import json
import random
import shutil

import numpy as np
import pandas as pd
import pytest
from google.protobuf import text_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2

from keras_sllmr.errors import DataError, StoreError
from keras_sllmr.io.hashing import file_hashes
from keras_sllmr.store.columns import column_specs
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.ragged import Ragged

NAN = float("nan")
COLUMNS = column_specs(
    {"gender": "categorical", "hobbies": "multi", "age": "numeric"},
    {"brand": "categorical", "colours": "multi", "price": "numeric"},
    {"device": "categorical", "tags": "multi", "hour": "numeric"},
)
# Of each user the last two events are held out: of "u" 2 of 4 train, of "v" 1 of 3.
DEVICES = ["web", "app", "tv", "web", "web", "", "fax"]
TAGS = [("x",), (), ("new",), ("y",), ("y", "x"), ("y",), ()]
HOURS = [1.0, 4.0, 100.0, 100.0, NAN, 100.0, 100.0]


def raw_data(raw_of, columns=COLUMNS):
    """Users u1 and u2 over the items i1 to i4, u2 without a row in the user table."""
    raw = raw_of([[1, 2, 3, 4], [3, 1, 2]], 4)
    context = dict(zip(("device", "tags", "hour"), (DEVICES, TAGS, HOURS), strict=True))
    return dataclasses.replace(
        raw,
        interactions=raw.interactions.assign(**context),
        items=raw.items.assign(
            brand=["b", "", "a", "b"],
            colours=[("red", "blue"), (), ("blue",), ()],
            price=np.array([1.5, NAN, 0.1, 3.0], np.float32),
        ),
        users=pd.DataFrame(
            {"user": ["u1"], "gender": ["F"], "hobbies": [("go", "chess")], "age": [31]}
        ),
        columns=columns,
    )


@pytest.fixture(scope="module")
def made(raw_of, tmp_path_factory):
    path = tmp_path_factory.mktemp("columns") / "store"
    return FeatureStore.create(path, raw_data(raw_of))


@pytest.fixture
def copied(made, tmp_path):
    return shutil.copytree(made.path, tmp_path / "store")


def words(column, rows=None):
    values = column.values if rows is None else rows
    return column.vocabulary[values].tolist()


def lists(column):
    return [words(column, column.values.row(row)) for row in range(len(column.values))]


def test_every_entity_and_kind(made):
    columns = made.columns
    assert [(c.name, c.entity, c.kind) for c in columns.values()] == [
        (spec.name, spec.entity, spec.kind) for spec in COLUMNS
    ]
    assert words(columns["gender"]) == ["", "F", ""]
    assert lists(columns["hobbies"]) == [[], ["go", "chess"], []]
    np.testing.assert_array_equal(columns["age"].values, [NAN, 31, NAN])
    assert words(columns["brand"]) == ["", "b", "", "a", "b"]
    assert lists(columns["colours"]) == [[], ["red", "blue"], [], ["blue"], []]
    price = np.array([NAN, 1.5, NAN, 0.1, 3.0], np.float32)
    np.testing.assert_array_equal(columns["price"].values, price)
    for column in columns.values():
        values = column.values
        values = values.values if isinstance(values, Ragged) else values
        assert values.dtype == (np.float32 if column.kind == "numeric" else np.int32)


def test_context_is_that_of_each_event(made):
    columns = made.columns
    assert made.item_ids[made.events.values].tolist() == [
        *("i1", "i2", "i3", "i4"),
        *("i3", "i1", "i2"),
    ]
    np.testing.assert_array_equal(columns["hour"].values, np.array(HOURS, np.float32))
    # What no training event has is unknown: "tv" and "fax", "new".
    assert words(columns["device"]) == ["web", "app", "", "web", "web", "", ""]
    assert columns["device"].vocabulary.tolist() == ["", "app", "web"]
    assert lists(columns["tags"]) == [["x"], [], [], ["y"], ["y", "x"], ["y"], []]


def test_moments_come_from_training_events_alone(made):
    hour = made.columns["hour"]
    assert (hour.mean, hour.std) == (2.5, 1.5)
    assert hour.standardised().tolist() == [-1, 1, 65, 65, 0, 65, 65]
    price = made.columns["price"]
    known = np.array([1.5, 0.1, 3.0], np.float32).astype(np.float64)
    assert price.mean == pytest.approx(known.mean(), rel=1e-12)
    assert price.std == pytest.approx(known.std(), rel=1e-12)
    assert price.standardised()[[0, 2]].tolist() == [0, 0]
    assert (made.columns["age"].mean, made.columns["age"].std) == (31, 1)


def test_rare_values_are_unknown(raw_of, tmp_path):
    rare = tuple(dataclasses.replace(spec, min_count=2) for spec in COLUMNS)
    store = FeatureStore.create(tmp_path / "store", raw_data(raw_of, rare))
    known = {
        name: column.vocabulary[1:].tolist()
        for name, column in store.columns.items()
        if column.vocabulary is not None
    }
    assert known == {
        "gender": [],
        "hobbies": [],
        "brand": ["b"],
        "colours": ["blue"],
        "device": ["web"],
        "tags": ["x"],
    }
    assert words(store.columns["brand"]) == ["", "b", "", "", "b"]
    assert store.columns["gender"].values.tolist() == [0, 0, 0]
    assert store.columns["hobbies"].values.lengths.tolist() == [0, 0, 0]


def test_the_schema_describes_each_column(made):
    text = (made.path / "schema.pbtxt").read_text()
    schema = text_format.Parse(text, schema_pb2.Schema())
    features = {feature.name: feature for feature in schema.feature}
    assert len(features) == len(schema.feature)
    types = {"categorical": "INT", "multi": "INT", "numeric": "FLOAT"}
    views = {"user": "user_columns", "item": "item_columns"}
    for name, column in made.columns.items():
        feature = features[name]
        assert schema_pb2.FeatureType.Name(feature.type) == types[column.kind]
        assert feature.HasField("shape") == (column.kind != "multi")
        assert list(feature.in_environment) == [
            views.get(column.entity, "context_columns")
        ]
        assert feature.HasField("int_domain") == (column.kind != "numeric")
        if column.kind != "numeric":
            domain = feature.int_domain
            assert (domain.name, domain.min, domain.max, domain.is_categorical) == (
                *(name, 0, column.n_categories),
                True,
            )
    vocabularies = {f"{c.name}_vocabulary" for c in COLUMNS if c.kind != "numeric"}
    assert set(features["category"].in_environment) == vocabularies
    for feature in schema.feature:
        inside, outside = set(feature.in_environment), set(feature.not_in_environment)
        assert inside | outside == set(schema.default_environment)
        assert not inside & outside


def test_the_manifest_names_them(made):
    assert made.manifest["columns"] == {
        "user": {"gender": "categorical", "hobbies": "multi", "age": "numeric"},
        "item": {"brand": "categorical", "colours": "multi", "price": "numeric"},
        "context": {"device": "categorical", "tags": "multi", "hour": "numeric"},
    }
    counts = made.manifest["counts"]
    assert counts["user_columns"] == 2 and counts["item_columns"] == 4
    assert counts["context_columns"] == 7 and counts["device_vocabulary"] == 2
    FeatureStore(made.path, verify=True)


def test_same_columns_same_files(made, raw_of, tmp_path):
    again = FeatureStore.create(tmp_path / "again", raw_data(raw_of))
    assert again.fingerprint == made.fingerprint


def test_other_columns_leave_the_rest_as_it_is(made, raw_of, tmp_path):
    bare = FeatureStore.create(tmp_path / "bare", raw_data(raw_of, ()))
    assert bare.columns == {} and "columns" not in bare.manifest
    names = ("user_history", "item_content", "attribute")
    assert {name.split("/")[1] for name in bare.manifest["files"] if "/" in name} == {
        *names
    }
    for name in names:
        folder = f"views/{name}"
        assert file_hashes(bare.path / folder) == file_hashes(made.path / folder)
    assert bare.fingerprint != made.fingerprint


def test_user_columns_without_users(raw_of, tmp_path):
    raw = dataclasses.replace(raw_data(raw_of), users=None)
    with pytest.raises(DataError, match="need a table of users. Received: 'gender'"):
        FeatureStore.create(tmp_path / "store", raw)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name: "hobbies"', 'name: "hobbiez"', "does not describe the columns that"),
        (
            'environment: "user_columns"',
            'environment: "u"',
            "does not describe the col",
        ),
        ('name: "gender"', 'name: "1"', "describes a column as none was written"),
        ('name: "age"\n  type: FLOAT', 'name: "age"\n  type: INT', "does not describe"),
        ("type: FLOAT\n  presence", "type: BYTES\n  presence", "as none was written"),
        (
            'environment: "tags_vocabulary"',
            'environment: "t"',
            "no view named|as it was",
        ),
        (
            'name: "category"\n  type: BYTES',
            'name: "category"\n  type: INT',
            "as it was",
        ),
    ],
)
def test_damaged_schema(copied, old, new, said):
    path = copied / "schema.pbtxt"
    whole = path.read_text()
    features = whole.split("feature {")
    changed = [
        part.replace(old, new)
        if any(f'"{spec.name}"' in part for spec in COLUMNS) or '"category"' in part
        else part
        for part in features
    ]
    assert changed != features
    path.write_text("feature {".join(changed))
    with pytest.raises(StoreError, match=said):
        FeatureStore(copied)


def test_a_column_that_left_the_schema(copied):
    path = copied / "schema.pbtxt"
    schema = text_format.Parse(path.read_text(), schema_pb2.Schema())
    kept = [feature for feature in schema.feature if feature.name != "age"]
    del schema.feature[:]
    schema.feature.extend(kept)
    path.write_text(text_format.MessageToString(schema))
    with pytest.raises(StoreError, match="does not describe the columns"):
        FeatureStore(copied)


def test_flipped_bits_in_the_schema(copied, made):
    """A StoreError, or what was written."""
    path, random_ = copied / "schema.pbtxt", random.Random(0)
    whole = path.read_bytes()
    for _ in range(15):
        content = bytearray(whole)
        content[random_.randrange(len(content))] ^= 1 << random_.randrange(8)
        path.write_bytes(content)
        try:
            columns = FeatureStore(copied).columns
        except StoreError:
            continue
        assert {n: (c.entity, c.kind) for n, c in columns.items()} == {
            n: (c.entity, c.kind) for n, c in made.columns.items()
        }


@pytest.mark.parametrize("columns", [None, [], {"user": "age"}])
def test_damaged_manifest(copied, columns):
    path = copied / "manifest.json"
    manifest = json.loads(path.read_text()) | {"columns": columns}
    path.write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="does not describe the columns that the man"):
        FeatureStore(copied)


@pytest.mark.parametrize("view", ["context_columns", "tags_vocabulary"])
def test_a_view_that_is_missing_or_short(copied, view):
    folder = copied / "views" / view
    (shard,) = folder.iterdir()
    shard.write_bytes(b"")
    with pytest.raises(StoreError, match=f"{view} should hold"):
        FeatureStore(copied)
    shutil.rmtree(folder)
    with pytest.raises(StoreError, match="No TFRecord files"):
        FeatureStore(copied)


def test_indices_beyond_the_vocabulary(copied, raw_of, tmp_path):
    rare = tuple(dataclasses.replace(spec, min_count=2) for spec in COLUMNS)
    other = FeatureStore.create(tmp_path / "other", raw_data(raw_of, rare)).path
    view = "views/device_vocabulary"
    shutil.rmtree(copied / view)
    shutil.copytree(other / view, copied / view)
    path = copied / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["counts"]["device_vocabulary"] = 1
    path.write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="column 'device' must be from 0 to 1.*0 to 2"):
        FeatureStore(copied)


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=4)
NUMBER = st.one_of(st.just(NAN), st.floats(width=32, allow_infinity=False))


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_round_trip(raw_of, tmp_path, data):
    raw = raw_of([[1, 2, 3, 4, 5], [5, 4, 3]], 5)
    sizes = {"user": 2, "item": 5, "context": 8}
    drawn = {
        spec.name: data.draw(
            st.lists(
                {
                    "categorical": st.one_of(st.just(""), TEXT),
                    "multi": st.lists(TEXT, max_size=3, unique=True).map(tuple),
                    "numeric": NUMBER,
                }[spec.kind],
                min_size=sizes[spec.entity],
                max_size=sizes[spec.entity],
            )
        )
        for spec in COLUMNS
    }
    tables = {
        entity: {s.name: drawn[s.name] for s in COLUMNS if s.entity == entity}
        for entity in sizes
    }
    raw = dataclasses.replace(
        raw,
        interactions=raw.interactions.assign(**tables["context"]),
        items=raw.items.assign(**tables["item"]),
        users=pd.DataFrame({"user": ["u1", "u2"], **tables["user"]}),
        columns=COLUMNS,
    )
    store = FeatureStore.create(tmp_path / "store", raw)
    trained = [0, 1, 2, 5]
    for spec in COLUMNS:
        column, cells = store.columns[spec.name], drawn[spec.name]
        first = int(spec.entity != "context")
        if spec.kind == "numeric":
            expected = np.array(cells, np.float32)
            np.testing.assert_array_equal(column.values[first:], expected)
            assert np.isfinite(column.standardised()).all()
            continue
        counted = cells if first else [cells[place] for place in trained]
        rows = [[cell] if spec.kind == "categorical" else cell for cell in counted]
        known = {value for row in rows for value in row if value}
        assert column.vocabulary.tolist() == ["", *sorted(known)]
        if spec.kind == "categorical":
            expected = [cell if cell in known else "" for cell in cells]
            assert words(column)[first:] == expected
        else:
            expected = [[v for v in cell if v in known] for cell in cells]
            assert lists(column)[first:] == expected
