"""Exports of models that read knowledge of users and items, or examples of a row."""

import numpy as np
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.evaluation.grid_function import GridFunction
from keras_sllmr.serving.check import check_export
from keras_sllmr.serving.export import export_manifest, export_model, load_export
from keras_sllmr.serving.recommend import recommend

SIGNATURES = {"serving_default", "serve_examples", "classify", "regress"} | {
    "rank",
    "rank_dense",
}


@pytest.fixture(scope="module")
def exports(knowing, spec, store, tmp_path_factory):
    """A function to the export of a method on a backbone, and what it was made of."""
    folder, made = tmp_path_factory.mktemp("saved_models"), {}

    def make(method, name):
        if (method, name) not in made:
            backbone, wide, retrieval = knowing(method, name, store, spec)
            path = export_model(
                backbone,
                wide,
                store,
                folder,
                name=f"{method}-{name}",
                retrieval=retrieval,
                dense_ids=True,
            )
            made[method, name] = path, backbone, wide, retrieval
        return made[method, name]

    return make


@pytest.mark.parametrize("method, name", [("kar", "deepfm"), ("llm_cf", "din")])
def test_a_fresh_process_answers_as_keras(exports, store, method, name):
    path, backbone, spec, retrieval = exports(method, name)
    found = check_export(path, backbone, spec, store, retrieval=retrieval)
    assert found["rows"] == store.n_users
    assert set(found["signatures"]) == SIGNATURES


@pytest.mark.slow
@pytest.mark.parametrize("method, name", [("llm_cf", "deepfm"), ("kar", "din")])
def test_a_loaded_export_answers_as_keras(exports, store, in_process, method, name):
    path, backbone, spec, retrieval = exports(method, name)
    found = check_export(path, backbone, spec, store, retrieval=retrieval)
    assert set(found["signatures"]) == SIGNATURES


def test_requests_name_the_user_where_there_is_knowledge_of_him(exports):
    inputs = {
        method: export_manifest(exports(method, "deepfm")[0])["signatures"]["rank"][
            "inputs"
        ]
        for method in ("kar", "llm_cf")
    }
    assert set(inputs["kar"]) == {"candidates", "history", "k", "user_id"}
    assert set(inputs["llm_cf"]) == {"candidates", "history", "k"}


def logits(backbone, **features):
    tensors = {name: tf.constant(value) for name, value in features.items()}
    return backbone(tensors, training=False).numpy()[:, 0]


def padded(store, spec, items):
    width = spec.attribute_width
    return {
        "item": items,
        "item_attributes": store.attributes.padded(width)[items],
        "history": np.zeros((len(items), 3), np.int32),
        "history_attributes": np.zeros((len(items), 3 * width), np.int32),
    }


def test_an_unknown_user_is_one_without_knowledge(exports, store):
    path, backbone, spec, _ = exports("kar", "deepfm")
    serve = load_export(path).signatures["serving_default"]
    found = serve(
        item_id=tf.constant(["a", "a", "a", "new"]),
        history=tf.zeros([4, 0], tf.string),
        user_id=tf.constant(["", "nobody", "u2", "nobody"]),
    )["logit"].numpy()
    expected = logits(
        backbone,
        user=np.array([0, 0, 2, 0], np.int32),
        **padded(store, spec, np.array([3, 3, 3, 0], np.int32)),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert found[0] == found[1] != found[2]
    (known,), (unknown,) = (
        recommend(path, [], ["a"], user_id=user) for user in ("u2", "nobody")
    )
    assert known != unknown


def test_examples_of_an_empty_history_and_of_an_unknown_item(exports, store):
    path, backbone, spec, retrieval = exports("llm_cf", "deepfm")
    loaded = load_export(path)
    rows = padded(store, spec, np.array([3, 0], np.int32))
    examples = retrieval(rows["history"], rows["item"]).numpy()
    assert examples[0].all() and not examples[1].any()
    expected = logits(backbone, examples=examples, **rows)
    history = tf.constant([["", "new"]])
    found = loaded.signatures["serving_default"](
        item_id=tf.constant(["a", "new"]), history=tf.tile(history, [2, 1])
    )
    np.testing.assert_allclose(found["logit"], expected, rtol=1e-5, atol=1e-5)
    ranked = loaded.signatures["rank"](
        candidates=tf.constant([["a", "new", ""]]), history=history, k=tf.constant([3])
    )
    np.testing.assert_allclose(ranked["logit"][0, :2], expected, rtol=1e-5, atol=1e-5)
    assert [item for item, _ in recommend(path, [], ["a", "new"])] == [
        ("a", "new")[place] for place in np.argsort(-expected)
    ]


@pytest.mark.parametrize("users, candidates", [(0, 3), (2, 0)])
def test_nothing_to_rank(exports, users, candidates):
    rank = load_export(exports("llm_cf", "deepfm")[0]).signatures["rank"]
    found = rank(
        candidates=tf.fill([users, candidates], "a"),
        history=tf.fill([users, 1], "a"),
        k=tf.ones([users], tf.int32),
    )
    assert found["logit"].shape == (users, candidates)


def test_knowledge_of_a_user_is_read_once(knowing, spec, store, monkeypatch):
    backbone, wide, _ = knowing("kar", "deepfm", store, spec)
    rows = {}

    def counted(layer):
        call = layer.call

        def count(inputs, **options):
            rows[layer.name] = int(inputs[0].shape[0])
            return call(inputs, **options)

        monkeypatch.setattr(layer, "call", count)

    for side in ("user", "item"):
        counted(backbone.get_layer(f"{side}_experts"))
    grid = GridFunction(backbone, item_inputs=wide.item_inputs)
    features = padded(store, wide, np.arange(7, dtype=np.int32))
    items = {name: features.pop(name) for name in ("item", "item_attributes")}
    user = {name: value[:1] for name, value in features.items()}
    assert grid({**user, "user": np.array([1], np.int32)}, items).shape == (1, 7)
    assert rows == {"user_experts": 1, "item_experts": 7}


def test_examples_must_be_found_by_something(knowing, spec, store, tmp_path):
    backbone, wide, _ = knowing("llm_cf", "deepfm", store, spec)
    given = (backbone, wide, store)
    with pytest.raises(ConfigError, match="reads 4 examples a row.*Received: none"):
        export_model(*given, tmp_path, name="m")
    with pytest.raises(ConfigError, match="Received: none"):
        check_export(tmp_path, *given)
    _, _, other = knowing("llm_cf", "deepfm", store, spec, k=2)
    with pytest.raises(ConfigError, match="Received: one of 2"):
        export_model(*given, tmp_path, name="m", retrieval=other)
    assert not list(tmp_path.iterdir())


def test_the_card_says_what_a_model_carries(exports):
    cards = {
        method: (exports(method, "deepfm")[0] / "assets.extra/MODEL_CARD.md").read_text(
            "utf-8"
        )
        for method in ("kar", "llm_cf")
    }
    for card in cards.values():
        assert "a request costs more" in card and "bare backbone: no" not in card
    assert "- frozen vectors of the 5 users' and 9 items' texts" in cards["kar"]
    assert "its vector is zeros" in cards["kar"]
    assert "- 24 labelled training interactions" in cards["llm_cf"]
    assert "finds 4 of them for every row" in cards["llm_cf"]
