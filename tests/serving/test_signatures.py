import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.serving.backbone_check import check_backbone
from keras_sllmr.serving.signatures import RawIdScorer
from keras_sllmr.training.selective_model import SelectiveModel


@pytest.fixture(scope="module")
def digits(make_digits, spec, store, tmp_path_factory):
    """Logits that read: item, then the three places of the history window."""
    backbone = make_digits(item=(), history=(3,))
    module = RawIdScorer(backbone, spec, store, tmp_path_factory.mktemp("ids"))
    serve = module.signatures()["serving_default"]

    def call(item_ids, histories):
        width = len(histories[0]) if histories else 0
        history = tf.constant(histories, tf.string, shape=(len(histories), width))
        found = serve(item_id=tf.constant(item_ids, tf.string), history=history)
        return found["logit"].numpy().astype(int).tolist()

    # The graph refers to the module's table and weights, and does not own them.
    call.module = module
    return call


def test_every_item_id_finds_its_index(digits, items):
    history = [[items[i], items[0]] for i in range(9)]
    expected = [1000 * i + 10 * i + 1 for i in range(1, 10)]
    assert digits(items, history) == expected


def test_history_is_cut_to_its_last_items_and_aligned_to_the_right(digits):
    # Indices: "a" 3, "b\tc" 4, "e,f" 5, "é" 7.
    histories = [
        ["a", "", "", "", ""],
        ["", "", "a", "b\tc", ""],
        ["", "a", "", "b\tc", "é"],
        ["a", "b\tc", "é", "e,f", "a"],
        ["", "", "", "", ""],
    ]
    expected = [3003, 3034, 3347, 3753, 3000]
    assert digits(["a"] * 5, histories) == expected


def test_unknown_ids_in_a_history_are_padding_and_do_not_use_up_places(digits):
    histories = [["a", "new", "b\tc", "é", "new"], ["new", "A", " a", "d", "a "]]
    assert digits(["a", "a"], histories) == [3347, 3000]


def test_unknown_item_has_index_0(digits):
    assert digits(["new", ""], [["a"], ["a"]]) == [3, 3]


def test_empty_history_and_no_rows(digits):
    assert digits(["a", "é"], [[], []]) == [3000, 7000]
    assert digits([], []) == []


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_window_property(data, digits, items):
    ids = st.sampled_from([*items, "", "new"])
    width = data.draw(st.integers(0, 7))
    rows = data.draw(st.lists(st.lists(ids, min_size=width, max_size=width)))
    if not rows:
        return
    index = {item: n for n, item in enumerate(items, start=1)}
    windows = [[index[i] for i in row if i in index][-3:] for row in rows]
    expected = [int("0" + "".join(map(str, window))) for window in windows]
    assert digits(["new"] * len(rows), rows) == expected


def test_attributes_and_users_are_looked_up_in_the_graph(
    make_digits, spec, store, tmp_path
):
    # Place n of the catalogue has the first n mod 3 of the attributes x (1) and y (2).
    backbone = make_digits(
        user=(), item_attributes=(2,), history_attributes=(6,), base=6
    )
    module = RawIdScorer(backbone, spec, store, tmp_path)
    serve = module.signatures()["serving_default"]
    assert set(serve.structured_input_signature[1]) == {"item_id", "history", "user_id"}
    found = serve(
        item_id=tf.constant(["a", "a", "b\tc", "new"]),
        history=tf.constant([["b\tc", '"h"'], ["a", "new"], ["", ""], ["", "e,f"]]),
        user_id=tf.constant(["u2", "u5", "stranger", ""]),
    )
    # user | attributes of the item | of the three places of the window
    expected = ["212000010", "512000012", "0", "10"]
    assert [np.base_repr(int(x), 6) for x in found["logit"].numpy()] == expected


def test_output_names_types_and_sigmoid(exported, items):
    loaded = tf.saved_model.load(str(exported.path))
    serve = loaded.signatures["serving_default"]
    inputs = serve.structured_input_signature[1]
    assert {name: (s.dtype, s.shape.as_list()) for name, s in inputs.items()} == {
        "item_id": (tf.string, [None]),
        "history": (tf.string, [None, None]),
    }
    found = serve(item_id=tf.constant(items), history=tf.constant([["a"]] * 9))
    assert {name: value.dtype for name, value in found.items()} == {
        "score": tf.float32,
        "logit": tf.float32,
    }
    logit = found["logit"].numpy().astype(float)
    assert len(set(logit.round(4))) == 9
    np.testing.assert_allclose(found["score"], 1 / (1 + np.exp(-logit)), atol=1e-6)


@pytest.mark.parametrize("bad", ["two\nlines", "carriage\rreturn"])
def test_ids_with_line_breaks_are_refused(bad, make_store, make_digits, tmp_path):
    store = make_store(["a", "b", "c", "d", bad, "f", "g", "h", "i"])
    spec = FeatureSpec.of(store)
    with pytest.raises(DataError, match="must not hold line breaks") as error:
        RawIdScorer(make_digits(item=()), spec, store, tmp_path)
    assert repr(bad) in str(error.value)
    assert not list(tmp_path.iterdir())


def test_backbones_that_do_not_fit_are_refused(make_digits, spec, store):
    check_backbone(make_digits(item=(1,), history=(3,)), spec, store)
    with pytest.raises(ConfigError, match=r"among user, item.*Received: \['price'\]"):
        check_backbone(make_digits(price=()), spec, store)
    with pytest.raises(ConfigError, match=r"'history'.*\[3\].*Received: \[4\]"):
        check_backbone(make_digits(history=(4,)), spec, store)
    with pytest.raises(ConfigError, match=r"Received: \(6, 9, 2\)"):
        other = FeatureSpec(n_users=6, n_items=9, n_attributes=2)
        check_backbone(make_digits(item=()), other, store)
    with pytest.raises(ConfigError, match="export the `backbone`.*SelectiveModel"):
        check_backbone(SelectiveModel(make_digits(item=())), spec, store)
    with pytest.raises(ConfigError, match="Received: .*Sequential"):
        check_backbone(keras.Sequential(), spec, store)
