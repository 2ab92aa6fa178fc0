import numpy as np
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.serving.examples import parse_examples
from keras_sllmr.serving.requests import Requests
from keras_sllmr.store.split import LeaveOneOut, Targets

ALL = ("item", "history", "user")
COLUMNS = ("gender", "hobbies", "age", "device", "tags", "hour", "brand", "price")


@pytest.fixture(scope="module")
def targets(column_store):
    """The validation rows of the users 1 to 3, whose events are 6, 7 and 8."""
    every = LeaveOneOut(column_store).validation
    return Targets(every.users[:3], every.positions[:3], every.items[:3])


def test_rows_by_hand(small_store):
    targets = Targets(np.array([1, 8]), np.array([2, 0]), np.array([5, 0]))
    found = Requests(small_store, ALL).rows(targets)
    first = small_store.item_ids[small_store.events.row(1)[:2]]
    assert {name: x.tolist() for name, x in found.items()} == {
        "item_id": ["i05", ""],
        "history": [first.tolist(), ["", ""]],
        "user_id": ["u01", "u08"],
    }


def test_histories_may_be_cut_to_their_last_items(small_store):
    targets = Targets(np.array([1]), np.array([4]), np.array([5]))
    found = Requests(small_store, ("item",), history=2).rows(targets)
    events = small_store.item_ids[small_store.events.row(1)]
    assert found["history"].tolist() == [events[2:4].tolist()]
    assert "user_id" not in found


def test_cells_of_users_and_context_alone(column_store, targets):
    found = Requests(column_store, (*ALL, *COLUMNS)).rows(targets)
    assert set(found) == {"item_id", "history", "user_id", *COLUMNS[:6]}
    assert found["gender"].tolist() == ["F", "M", ""]
    assert found["hobbies"].tolist() == [
        ["chess", "", ""],
        ["chess", "go", ""],
        ["chess", "go", "tea"],
    ]
    assert found["age"].tolist() == [21, 22, 23]
    assert found["age"].dtype == np.float32
    row = column_store.events.offsets[targets.users[0]] + targets.positions[0]
    assert found["device"][0] == column_store.columns["device"].cell(row)


def test_rankings_take_ids_or_indices(small_store):
    targets = Targets(np.array([1, 2]), np.array([2, 3]), np.array([0, 0]))
    candidates, k = np.array([[3, 0], [1, 2]]), np.array([1, 2])
    requests = Requests(small_store, ("item", "history"))
    by_id = requests.ranking(targets, candidates, k)
    assert by_id["candidates"].tolist() == [["i03", ""], ["i01", "i02"]]
    assert by_id["k"].dtype == np.int32
    dense = requests.ranking(targets, candidates, k, "rank_dense")
    assert dense["candidates"].tolist() == candidates.tolist()
    assert {dense[name].dtype for name in ("candidates", "history")} == {
        np.dtype(np.int32)
    }
    same = np.where(dense["history"] > 0, small_store.item_ids[dense["history"]], "")
    assert same.tolist() == by_id["history"].tolist()


@pytest.mark.parametrize("names", [("item",), (*ALL, *COLUMNS)])
def test_examples_hold_the_same_as_rows(column_store, targets, names):
    requests = Requests(column_store, names)
    rows = requests.rows(targets)
    specs = [
        tf.TensorSpec([None] * x.ndim, tf.constant(x).dtype, name)
        for name, x in rows.items()
    ]
    parsed = parse_examples(tf.constant(requests.examples(targets)), specs)
    for name, x in parsed.items():
        found = x.numpy()
        if found.dtype == object:
            found = np.vectorize(bytes.decode, otypes=[object])(found)
        np.testing.assert_array_equal(found, rows[name])


def test_unknown_cells_are_left_out_of_examples(column_store):
    unknown = Targets(np.array([30]), np.array([0]), np.array([0]))
    requests = Requests(column_store, ("item", "gender", "hobbies", "age"))
    (record,) = requests.examples(unknown)
    assert dict(tf.train.Example.FromString(record).features.feature) == {}


@pytest.mark.parametrize(
    ("signature", "name"),
    [("serve_examples", "examples"), ("classify", "inputs"), ("regress", "inputs")],
)
def test_signatures_that_take_examples(small_store, signature, name):
    targets = Targets(np.array([1]), np.array([2]), np.array([5]))
    requests = Requests(small_store, ALL)
    found = requests.rows(targets, signature)
    assert {n: x.tolist() for n, x in found.items()} == {
        name: requests.examples(targets)
    }
