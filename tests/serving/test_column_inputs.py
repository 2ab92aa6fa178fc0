import dataclasses
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.registry import build_backbone
from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError, DataError, StoreError
from keras_sllmr.serving import check
from keras_sllmr.serving.backbone_check import check_backbone
from keras_sllmr.serving.check import check_export
from keras_sllmr.serving.column_inputs import ColumnInputs
from keras_sllmr.serving.export import export_model, load_export
from keras_sllmr.serving.recommend import recommend
from keras_sllmr.serving.signatures import RawIdScorer
from keras_sllmr.store.columns import OUTERMOST

NAN = float("nan")


@pytest.fixture(scope="module")
def spec(column_store):
    return FeatureSpec.of(column_store, history_length=3)


@pytest.fixture(scope="module")
def inputs(spec, column_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabularies")
    return ColumnInputs(spec.columns, column_store, folder)


@pytest.fixture(scope="module")
def model(spec):
    """DeepFM with large weights everywhere."""
    model = build_backbone("deepfm", spec, embedding_dim=4, dnn_hidden_units=(5,))
    rng = np.random.default_rng(5)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def exported(model, spec, column_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_models")
    return export_model(model, spec, column_store, folder, name="columns")


def request(**cells):
    """A request for two rows; what is not given is missing."""
    given = {
        "gender": ["", ""],
        "hobbies": [[], []],
        "age": [NAN, NAN],
        "device": ["", ""],
        "tags": [[], []],
        "hour": [NAN, NAN],
        **cells,
    }
    dtype = {"age": tf.float32, "hour": tf.float32}
    return {n: tf.constant(x, dtype.get(n, tf.string)) for n, x in given.items()}


def test_inputs_of_the_signature(inputs):
    found = {s.name: (s.dtype.name, s.shape.as_list()) for s in inputs.specs()}
    assert found == {
        "gender": ("string", [None]),
        "hobbies": ("string", [None, None]),
        "age": ("float32", [None]),
        "device": ("string", [None]),
        "tags": ("string", [None, None]),
        "hour": ("float32", [None]),
    }


def test_categories_by_hand(inputs, column_store):
    assert column_store.columns["gender"].vocabulary.tolist() == ["", "F", "M"]
    found = inputs.of_request(request(gender=["M", "other"]))
    assert found["gender"].numpy().tolist() == [2, 0]
    assert found["device"].numpy().tolist() == [0, 0]


@pytest.mark.parametrize(
    ("cells", "indices"),
    [
        (["go", "chess"], [2, 1, 0]),
        (["", "new", "tea", ""], [3, 0, 0]),
        (["tea", "tea", "chess", "tea", "go"], [3, 1, 2]),
        (["", "", "", "", ""], [0, 0, 0]),
        ([], [0, 0, 0]),
    ],
)
def test_lists_by_hand(cells, indices, inputs, column_store):
    vocabulary = column_store.columns["hobbies"].vocabulary
    assert vocabulary.tolist() == ["", "chess", "go", "tea"]
    found = inputs.of_request(request(hobbies=[cells, cells]))
    assert found["hobbies"].numpy().tolist() == [indices] * 2


def test_numbers_are_standardised_inside(inputs, column_store):
    age = column_store.columns["age"]
    found = inputs.of_request(request(age=[24.0, NAN], hour=[np.inf, 3.0]))
    np.testing.assert_allclose(found["age"], [(24 - age.mean) / age.std, 0], rtol=1e-6)
    assert found["age"].dtype == tf.float32
    assert found["hour"].numpy()[0] == 0 and np.isfinite(found["hour"]).all()


def test_numbers_stay_finite_as_in_training(column_store, spec, tmp_path):
    column = dataclasses.replace(column_store.columns["age"], mean=0.0, std=1e-40)
    store = SimpleNamespace(columns={"age": column})
    age = [column for column in spec.columns if column.name == "age"]
    found = ColumnInputs(age, store, tmp_path).of_request(
        {"age": tf.constant([1.0, -1.0, 0.0, NAN])}
    )
    assert found["age"].numpy().tolist() == [OUTERMOST, -OUTERMOST, 0, 0]


def test_items_have_their_columns_inside(inputs, column_store):
    found = inputs.of_items(tf.constant([3, 0, 6]))
    # Brands a, b, c by the item's number modulo 4; colours blue, green, red in order.
    assert found["brand"].numpy().tolist() == [3, 0, 2]
    assert found["colours"].numpy().tolist() == [[3, 1, 2], [0, 0, 0], [3, 1, 0]]
    price = column_store.columns["price"]
    expected = [(1.5 - price.mean) / price.std, 0, 0]
    np.testing.assert_allclose(found["price"], expected, rtol=1e-6)


def test_the_export_equals_the_keras_model_in_a_fresh_process(
    exported, model, spec, column_store
):
    found = check_export(exported, model, spec, column_store)
    assert found["rows"] == column_store.n_users
    assert found["max_abs_diff"] <= 1e-5


def test_so_does_that_of_din(spec, column_store, tmp_path, in_process):
    model = build_backbone("din", spec, embedding_dim=4, embedding_stddev=0.5)
    path = export_model(model, spec, column_store, tmp_path, name="din")
    assert check_export(path, model, spec, column_store)["max_abs_diff"] <= 1e-5


def test_a_wrong_cell_is_noticed(exported, model, spec, column_store, monkeypatch):
    """The check reads the columns: another cell gives another logit."""
    loaded = load_export(exported)

    def logits(reversed_name, path, requests):
        inputs = requests["serving_default"]
        assert {"gender", "hobbies", "age", "device", "tags", "hour"} < set(inputs)
        assert not {"brand", "colours", "price"} & set(inputs)
        found = loaded.signatures["serving_default"](
            **{
                name: tf.constant(cells[::-1] if name == reversed_name else cells)
                for name, cells in inputs.items()
            }
        )
        return {"serving_default": {"logit": found["logit"].numpy()}}

    for name in ("gender", "hobbies", "age", "device", "tags", "hour"):
        monkeypatch.setattr(check, "_answers", partial(logits, name))
        with pytest.raises(StoreError, match="within 1e-05"):
            check_export(exported, model, spec, column_store)
    monkeypatch.setattr(check, "_answers", partial(logits, None))
    check_export(exported, model, spec, column_store)


def test_the_assets_hold_the_vocabularies(exported):
    names = {path.name for path in (exported / "assets").iterdir()}
    columns = ("gender", "hobbies", "device", "tags")
    assert names == {"item_ids.txt", *(f"{name}_vocabulary.txt" for name in columns)}
    assert (exported / "assets/gender_vocabulary.txt").read_text() == "F\nM\n"


def test_recommend_takes_the_users_cells(exported):
    candidates = ["i01", "i02", "i03", "new"]

    def scores(**columns):
        return dict(recommend(exported, ["i09"], candidates, columns=columns))

    nothing = scores()
    assert nothing == scores(gender="", hobbies=[], age=NAN, tags=["new"])
    for columns in (
        {"gender": "F"},
        {"hobbies": ["go", "tea"]},
        {"age": 33},
        {"device": "web"},
        {"tags": ["x"]},
        {"hour": 3.5},
    ):
        assert scores(**columns) != nothing, columns


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"brand": "a"}, "age, device, gender, .*Received: brand"),
        ({"age": "old"}, "'age' must be a number. Received: 'old'"),
        ({"gender": ["F"]}, "'gender' must be a str. Received: \\['F'\\]"),
        ({"gender": 1}, "'gender' must be a str. Received: 1"),
        ({"hobbies": "go"}, "'hobbies' must be a list of str. Received: 'go'"),
    ],
)
def test_cells_that_recommend_cannot_read(exported, columns, said):
    with pytest.raises(ConfigError, match=said):
        recommend(exported, [], ["i01"], columns=columns)


def test_a_model_reads_what_it_wants(spec, column_store, tmp_path):
    age = keras.Input((1,), name="age")
    price = keras.Input((), name="price")
    total = keras.layers.Add()([age, keras.layers.Reshape((1,))(price)])
    model = keras.Model({"age": age, "price": price}, total)
    scorer = RawIdScorer(model, spec, column_store, tmp_path)
    serve = scorer.signatures()["serving_default"]
    assert set(serve.structured_input_signature[1]) == {"item_id", "history", "age"}
    columns = column_store.columns
    found = serve(
        item_id=tf.constant(["i04"]),
        history=tf.constant([[""]]),
        age=tf.constant([30.0]),
    )
    expected = columns["price"].standardised()[4] + (
        (30 - columns["age"].mean) / columns["age"].std
    )
    assert found["logit"].numpy() == pytest.approx([expected], rel=1e-6)
    with pytest.raises(
        ConfigError, match="among user, .*Received: \\['age', 'price'\\]"
    ):
        check_backbone(model, FeatureSpec.of(column_store, columns=()), column_store)


def test_a_store_with_another_vocabulary(model, spec, column_store, monkeypatch):
    other = {**column_store.columns, "gender": column_store.columns["device"]}
    monkeypatch.setattr(column_store, "columns", other)
    with pytest.raises(ConfigError, match="must have the column 'gender'"):
        check_backbone(model, spec, column_store)


def test_categories_with_line_breaks_are_refused(
    spec, column_store, tmp_path, monkeypatch
):
    from dataclasses import replace

    gender = column_store.columns["gender"]
    words = np.array(["", "F", "M\nX"], object)
    changed = {**column_store.columns, "gender": replace(gender, vocabulary=words)}
    monkeypatch.setattr(column_store, "columns", changed)
    with pytest.raises(DataError, match="value of the column 'gender' a line"):
        ColumnInputs(spec.columns, column_store, tmp_path)


def test_a_column_without_any_known_value(column_store, tmp_path, monkeypatch):
    from dataclasses import replace

    gender = column_store.columns["gender"]
    empty = replace(
        gender, values=np.zeros_like(gender.values), vocabulary=np.array([""], object)
    )
    monkeypatch.setattr(column_store, "columns", {"gender": empty})
    spec = FeatureSpec.of(column_store, history_length=3)
    model = build_backbone("deepfm", spec, embedding_dim=2)
    path = export_model(model, spec, column_store, tmp_path, name="empty")
    one, other = (
        recommend(path, [], ["i01"], columns={"gender": cell}) for cell in ("", "F")
    )
    assert one == other
