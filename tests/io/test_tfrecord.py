import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.compat import tf
from keras_sllmr.errors import StoreError
from keras_sllmr.io.tfrecord import example, examples, read_shards, write_shards

SPEC = {
    "name": tf.io.FixedLenFeature([], tf.string),
    "score": tf.io.FixedLenFeature([], tf.float32),
    "many": tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64),
}


def records(count):
    return [
        example(name=f"é{n}", score=n / 2, many=list(range(n % 4)))
        for n in range(count)
    ]


def write(folder, count, **options):
    return write_shards(folder, iter(records(count)), count=count, **options)


@pytest.mark.parametrize(
    ("count", "shard_size", "sizes"),
    [
        (0, 3, [0]),
        (1, 3, [1]),
        (3, 3, [3]),
        (4, 3, [2, 2]),
        (10, 4, [4, 4, 2]),
        (25, 3, [3] * 8 + [1]),
    ],
)
def test_shards(tmp_path, count, shard_size, sizes):
    paths = write(tmp_path / "view", count, shard_size=shard_size)
    shards = len(sizes)
    assert [p.name for p in paths] == [
        f"part-{n:05d}-of-{shards:05d}.tfrecord" for n in range(shards)
    ]
    assert [sum(1 for _ in tf.data.TFRecordDataset([str(p)])) for p in paths] == sizes
    columns = read_shards(tmp_path / "view", SPEC, count=count)
    assert [v.decode() for v in columns["name"]] == [f"é{n}" for n in range(count)]
    assert columns["score"].dtype == np.float32
    assert columns["score"].tolist() == [n / 2 for n in range(count)]
    values, offsets = columns["many"]
    assert values.dtype == offsets.dtype == np.int64
    assert values.tolist() == [v for n in range(count) for v in range(n % 4)]
    assert np.diff(offsets).tolist() == [n % 4 for n in range(count)]
    assert offsets[0] == 0


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(0, [0]), (1, [1]), (3, [3]), (4, [3, 1]), (6, [3, 3]), (10, [3, 3, 3, 1])],
)
def test_shards_of_an_unknown_number(tmp_path, count, sizes):
    drawn = iter(records(count))
    paths = write_shards(tmp_path, drawn, shard_size=3)
    assert sorted(tmp_path.iterdir()) == paths
    assert [p.name for p in paths] == [
        f"part-{n:05d}-of-{len(sizes):05d}.tfrecord" for n in range(len(sizes))
    ]
    assert [sum(1 for _ in tf.data.TFRecordDataset([str(p)])) for p in paths] == sizes
    assert read_shards(tmp_path, SPEC, count=count)["score"].tolist() == [
        n / 2 for n in range(count)
    ]


def test_shards_do_not_change_what_is_read(tmp_path):
    write(tmp_path / "one", 100)
    write(tmp_path / "many", 100, shard_size=7)
    one, many = (read_shards(tmp_path / n, SPEC, count=100) for n in ("one", "many"))
    for name in ("name", "score"):
        np.testing.assert_array_equal(one[name], many[name])
    np.testing.assert_array_equal(one["many"][0], many["many"][0])
    np.testing.assert_array_equal(one["many"][1], many["many"][1])


@pytest.mark.parametrize(
    ("value", "kind", "stored"),
    [
        ("é", "bytes_list", ["é".encode()]),
        (b"\xff", "bytes_list", [b"\xff"]),
        (["a", b"b"], "bytes_list", [b"a", b"b"]),
        (3, "int64_list", [3]),
        (np.int32(-3), "int64_list", [-3]),
        (2**62, "int64_list", [2**62]),
        (np.array([1, 2]), "int64_list", [1, 2]),
        ((), "int64_list", []),
        (0.5, "float_list", [0.5]),
        (np.array([0.5, 2], np.float32), "float_list", [0.5, 2.0]),
    ],
)
def test_features_by_type(value, kind, stored):
    feature = tf.train.Example.FromString(example(x=value)).features.feature["x"]
    assert feature.WhichOneof("kind") == kind
    assert list(getattr(feature, kind).value) == stored


def test_bytes_do_not_depend_on_the_process_or_the_order():
    names = [f"feature_{n}" for n in range(6)]
    here = example(**{name: name for name in names})
    assert here == example(**{name: name for name in reversed(names)})
    # The keys of a map are written as they are sorted: the same in every process.
    places = [here.index(name.encode()) for name in names]
    assert places == sorted(places)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(max_size=200) | st.binary(max_size=200),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(width=32, allow_nan=False),
        ),
        max_size=5,
    ),
    st.permutations(["é", "b", "a"]),
)
def test_many_examples_are_the_same_bytes_as_one_by_one(rows, names):
    texts, integers, floats = zip(*rows, strict=True) if rows else ([], [], [])
    columns = dict(zip(names, (texts, integers, np.array(floats, float)), strict=True))
    expected = [example(**dict(zip(names, row, strict=True))) for row in rows]
    assert list(examples(columns)) == expected


def test_examples_of_unequal_columns():
    with pytest.raises(ValueError, match="shorter"):
        list(examples({"a": [1, 2], "b": [1]}))


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "truncated":
        content = content[:-5]
    elif how == "length":
        content[0] ^= 1
    elif how == "payload":
        content[len(content) // 2] ^= 0x10
    elif how == "other file":
        content = bytearray(b"user,item\n" * 20)
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["truncated", "length", "payload", "other file"])
@pytest.mark.parametrize("shard", [0, -1])
def test_damaged_shard(tmp_path, how, shard):
    damage(write(tmp_path, 10, shard_size=4)[shard], how)
    with pytest.raises(StoreError, match="truncated, damaged or unreadable") as error:
        read_shards(tmp_path, SPEC, count=10)
    assert "\n" not in str(error.value) and "Write it again" in str(error.value)


def test_missing_shards(tmp_path):
    paths = write(tmp_path, 10, shard_size=4)
    paths[1].unlink()
    with pytest.raises(StoreError, match="hold 10 records. Received: 6. A shard is"):
        read_shards(tmp_path, SPEC, count=10)
    for path in (paths[0], paths[2]):
        path.unlink()
    with pytest.raises(StoreError, match="No TFRecord files in"):
        read_shards(tmp_path, SPEC, count=10)
    with pytest.raises(StoreError, match="No TFRecord files in"):
        read_shards(tmp_path / "nowhere", SPEC, count=10)


def test_shard_cut_between_records(tmp_path):
    (path,) = write(tmp_path, 1)
    one = path.read_bytes()
    write(tmp_path, 3)
    path.write_bytes(one)
    with pytest.raises(StoreError, match="hold 3 records. Received: 1"):
        read_shards(tmp_path, SPEC, count=3)


def test_shard_that_is_a_folder(tmp_path):
    (tmp_path / "part-00000-of-00001.tfrecord").mkdir()
    with pytest.raises(StoreError, match="truncated, damaged or unreadable"):
        read_shards(tmp_path, SPEC, count=1)


def test_records_of_another_kind(tmp_path):
    write_shards(tmp_path, [example(name=1, score=0.5)], count=1)
    with pytest.raises(StoreError, match="truncated, damaged or unreadable"):
        read_shards(tmp_path, SPEC, count=1)


def test_place_that_cannot_be_written(tmp_path):
    (tmp_path / "part-00000-of-00001.tfrecord").mkdir()
    with pytest.raises(OSError, match="part-00000"):
        write(tmp_path, 1)
