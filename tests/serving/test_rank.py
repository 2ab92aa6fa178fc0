import numpy as np
import pytest

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.registry import BACKBONES, build_backbone
from keras_sllmr.compat import tf
from keras_sllmr.serving.signatures import RawIdScorer


def served(backbone, spec, store, folder, **options):
    module = RawIdScorer(backbone, spec, store, folder, **options)
    return module, module.signatures()


def strings(rows, width=None):
    return tf.constant(rows, tf.string, shape=(len(rows), width or len(rows[0])))


@pytest.fixture(scope="module")
def deepfm(make_backbone, spec, store, tmp_path_factory):
    backbone = make_backbone(spec)
    folder = tmp_path_factory.mktemp("deepfm")
    module, signatures = served(backbone, spec, store, folder, dense_ids=True)

    def rank(candidates, history, k):
        return signatures["rank"](
            candidates=strings(candidates), history=history, k=tf.constant(k)
        )

    rank.module, rank.signatures = module, signatures
    return rank


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_equals_row_by_row(name, spec, store, items, tmp_path):
    backbone = build_backbone(name, spec, embedding_dim=4, dnn_hidden_units=[5])
    rng = np.random.default_rng(0)
    backbone.set_weights(
        [w + 0.3 * rng.normal(size=w.shape) for w in backbone.get_weights()]
    )
    module, signatures = served(backbone, spec, store, tmp_path)
    candidates = [[*items[:6], "new"], [*items[2:8], items[0]]]
    history = strings([["a", items[0], "é"], ["", "new", "a"]])
    found = signatures["rank"](
        candidates=strings(candidates), history=history, k=tf.constant([3, 2])
    )
    rows = signatures["serving_default"](
        item_id=tf.constant(candidates[0] + candidates[1]),
        history=tf.repeat(history, 7, axis=0),
    )
    expected = rows["logit"].numpy().reshape(2, 7)
    assert found["logit"].numpy() == pytest.approx(expected, abs=5e-6)
    assert found["score"].numpy() == pytest.approx(
        1 / (1 + np.exp(-expected)), abs=1e-6
    )
    best = np.argsort(-expected, axis=1, kind="stable")[:, :3]
    ids = np.take_along_axis(np.array(candidates, object), best, axis=1)
    top = found["top_item_id"].numpy()
    assert [[i.decode() for i in row] for row in top] == ids.tolist()
    assert found["top_logit"].numpy() == pytest.approx(
        np.take_along_axis(expected, best, axis=1), abs=5e-6
    )
    del module


def test_padding_comes_last(deepfm, items):
    history = strings([["a"]])
    found = deepfm([["", items[0], "", items[1]]], history, [4])
    top = found["top_item_id"].numpy()[0].tolist()
    assert top[2:] == [b"", b""]
    assert set(top[:2]) == {items[0].encode(), items[1].encode()}
    assert found["score"].numpy()[0, [0, 2]].tolist() == [0, 0]
    assert (found["logit"].numpy()[0, [0, 2]] == np.finfo(np.float32).min).all()
    assert np.isfinite(found["top_logit"].numpy()).all()


def test_equal_ones_keep_their_order(deepfm, items):
    found = deepfm([["new", items[0], "other"]], strings([["a"]]), [3])
    top = found["top_item_id"].numpy()[0].tolist()
    assert top.index(b"new") < top.index(b"other")


def test_no_candidates_users_or_history(deepfm, items):
    none = deepfm.signatures["rank"](
        candidates=tf.zeros([2, 0], tf.string),
        history=tf.zeros([2, 3], tf.string),
        k=tf.constant([5, 5]),
    )
    assert none["logit"].shape == none["top_item_id"].shape == (2, 0)
    nobody = deepfm.signatures["rank"](
        candidates=tf.zeros([0, 4], tf.string),
        history=tf.zeros([0, 2], tf.string),
        k=tf.zeros([0], tf.int32),
    )
    assert nobody["logit"].shape == (0, 4)
    assert nobody["top_score"].shape == (0, 0)
    short = deepfm([items[:2]], tf.zeros([1, 0], tf.string), [9])
    assert short["top_item_id"].shape == (1, 2)


def test_k_is_checked(deepfm, items):
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least 1"):
        deepfm([items[:2]], strings([["a"]]), [0])


def test_dense_ids(deepfm, store, items):
    index = [store.item_index[item] for item in items[:5]]
    dense = deepfm.signatures["rank_dense"](
        candidates=tf.constant([[*index, 0]], tf.int32),
        history=tf.constant([[0, index[0], index[3]]], tf.int32),
        k=tf.constant([6]),
    )
    by_id = deepfm([[*items[:5], ""]], strings([["", items[0], items[3]]]), [6])
    for name in ("logit", "score", "top_logit", "top_score"):
        assert np.array_equal(dense[name], by_id[name])
    top = [store.item_ids[i] for i in dense["top_item"].numpy()[0][:5]]
    assert [i.decode() for i in by_id["top_item_id"].numpy()[0][:5]] == top
    assert dense["top_item"].numpy()[0, 5] == 0


def test_columns_and_users(column_store, tmp_path):
    spec = FeatureSpec.of(column_store, history_length=4, user_id=True)
    backbone = build_backbone("dcnv2", spec, embedding_dim=4, dnn_hidden_units=[5])
    module, signatures = served(backbone, spec, column_store, tmp_path)
    inputs = {
        "history": strings([["i01", "i02"], ["i03", "i04"]]),
        "user_id": tf.constant(["u01", "nobody"]),
        "gender": tf.constant(["F", ""]),
        "hobbies": strings([["go", "tea"], ["", ""]]),
        "age": tf.constant([30.0, np.nan]),
        "device": tf.constant(["web", "app"]),
        "tags": strings([["x"], ["new"]]),
        "hour": tf.constant([3.0, 4.0]),
    }
    candidates = [["i05", "i06", "i07"], ["i08", "i05", "i40"]]
    found = signatures["rank"](
        candidates=strings(candidates), k=tf.constant([1, 1]), **inputs
    )
    rows = signatures["serving_default"](
        item_id=tf.constant(candidates[0] + candidates[1]),
        **{name: tf.repeat(x, 3, axis=0) for name, x in inputs.items()},
    )
    expected = rows["logit"].numpy().reshape(2, 3)
    assert found["logit"].numpy() == pytest.approx(expected, abs=5e-6)
    del module
