import numpy as np
import pytest

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.registry import BACKBONES, build_backbone
from keras_sllmr.compat import deepctr_layers, keras, tf
from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.evaluation import grid_graph
from keras_sllmr.evaluation.full_ranking import full_ranking
from keras_sllmr.evaluation.grid_scorer import GridScorer

layers = keras.layers
N_ITEMS, N_ATTRIBUTES, N_USERS = 53, 11, 9
ITEM_INPUTS = ("item", "item_attributes")


class MaskedMean(layers.Layer):
    """Mean over the filled places of a sequence, from the mask of its embedding."""

    def call(self, x, mask=None):
        weights = tf.cast(mask, x.dtype)[..., tf.newaxis]
        total = tf.reduce_sum(x * weights, axis=1, keepdims=True)
        return total / tf.maximum(tf.reduce_sum(weights, 1, keepdims=True), 1.0)

    def compute_mask(self, inputs, mask=None):
        return None


class Bias(layers.Layer):
    def build(self, shape):
        self.bias = self.add_weight(name="bias", shape=(), initializer="ones")

    def call(self, x):
        return x + self.bias


def normal(seed):
    return keras.initializers.RandomNormal(stddev=0.3, seed=seed)


def embedding(size, dim, seed, mask_zero=True):
    return layers.Embedding(
        size + 1, dim, mask_zero=mask_zero, embeddings_initializer=normal(seed)
    )


def make_inputs():
    shapes = {
        "item": [],
        "item_attributes": [3],
        "history": [6],
        "history_attributes": [6],
        "user": [1],
    }
    return {
        name: keras.Input(shape, name=name, dtype="int32")
        for name, shape in shapes.items()
    }


def make_features(seed=0):
    rng = np.random.default_rng(seed)
    users = {
        "history": rng.integers(0, N_ITEMS + 1, (N_USERS, 6)),
        "history_attributes": rng.integers(0, N_ATTRIBUTES + 1, (N_USERS, 6)),
        "user": np.arange(1, N_USERS + 1),
    }
    users["history"][0] = 0  # an empty history
    items = {
        "item": np.arange(1, N_ITEMS + 1),
        "item_attributes": rng.integers(0, N_ATTRIBUTES + 1, (N_ITEMS, 3)),
    }
    return users, items


def make_deepfm(dim=8, **dnn):
    x = make_inputs()
    item, attribute = embedding(N_ITEMS, dim, 1), embedding(N_ATTRIBUTES, dim, 2)
    item_weight = embedding(N_ITEMS, 1, 3)
    user = embedding(N_USERS, dim, 4, mask_zero=False)
    # The same layers embed the target and the history.
    fields = [
        MaskedMean()(item(layers.Reshape([1])(x["item"]))),
        MaskedMean()(attribute(x["item_attributes"])),
        MaskedMean()(item(x["history"])),
        user(x["user"]),
        MaskedMean()(attribute(x["history_attributes"])),
    ]
    linear = [
        layers.Flatten()(MaskedMean()(item_weight(layers.Reshape([1])(x["item"])))),
        layers.Flatten()(MaskedMean()(item_weight(x["history"]))),
    ]
    joined = layers.Concatenate(axis=1)(fields)
    flat = layers.Dropout(0.5)(layers.Flatten()(joined))
    deep = deepctr_layers.DNN([20, 8], dropout_rate=0.3, **dnn)(flat)
    logits = [*linear, deepctr_layers.FM()(joined), layers.Dense(1)(deep)]
    return keras.Model(x, Bias()(layers.Add()(logits)))


def make_odd():
    """Attention over a masked history, products, slices and a pair of towers."""
    x = make_inputs()
    item = embedding(N_ITEMS, 4, 5)
    history = item(x["history"])
    target = item(layers.Reshape([1])(x["item"]))
    attended = layers.Attention()([target, history])
    similarity = layers.Dot(axes=-1)([target, history])
    joined = layers.Concatenate(axis=-1)(
        [
            layers.Flatten()(attended),
            layers.Flatten()(layers.Multiply()([target, attended])),
            layers.Flatten()(similarity),
            embedding(N_ATTRIBUTES, 2, 6, False)(x["item_attributes"])[:, 0],
            layers.Flatten()(embedding(N_USERS, 2, 7, False)(x["user"])),
        ]
    )
    hidden = layers.Dense(6, activation="tanh")(joined)
    tower = layers.LayerNormalization()(layers.Flatten()(target))
    other = layers.Dense(6, use_bias=False)(layers.Flatten()(history))
    product = hidden * layers.Dense(6)(layers.Concatenate()([tower, other]))
    return keras.Model(x, layers.Dense(1)(layers.Concatenate()([product, hidden])))


def make_deepctr():
    """The layers that DeepCTR assembles its own models from, joined on the last axis."""
    x = make_inputs()
    fields = [
        embedding(N_ITEMS, 4, 1, False)(layers.Reshape([1])(x["item"])),
        embedding(N_USERS, 4, 2, False)(x["user"]),
    ]
    joined = deepctr_layers.Concat(axis=-1)(fields)
    joined = deepctr_layers.NoMask()(joined)
    deep = deepctr_layers.DNN([7], activation="dice", use_bn=True)(
        layers.Reshape([8])(joined)
    )
    logit = deepctr_layers._Add()([layers.Dense(1)(deep), layers.Dense(1)(deep)])
    return keras.Model(x, deepctr_layers.PredictionLayer("regression")(logit))


MODELS = {"deepfm": make_deepfm, "odd": make_odd, "deepctr": make_deepctr}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]()


@pytest.fixture(scope="module")
def deepfm():
    return make_deepfm()


def predict(model, users, items):
    n_users, n_items = len(users["user"]), len(items["item"])
    rows = {name: np.repeat(x, n_items, axis=0) for name, x in users.items()}
    rows |= {
        name: np.tile(x, [n_users] + [1] * (x.ndim - 1)) for name, x in items.items()
    }
    return model.predict(rows, batch_size=128, verbose=0).reshape(n_users, n_items)


def make_scorer(model, items=None, **sizes):
    scorer = GridScorer(model, item_inputs=ITEM_INPUTS, **sizes)
    scorer.set_items(make_features()[1] if items is None else items)
    return scorer


def test_equals_predict_on_rows(model):
    users, items = make_features()
    scores = make_scorer(model).score(users)
    assert scores.shape == (N_USERS, N_ITEMS)
    assert scores.dtype == np.float32
    expected = predict(model, users, items)
    assert expected.std() > 0.01
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (4, 17, 40), (64, 1000, 200)])
def test_chunks_do_not_matter(model, sizes):
    users, _ = make_features()
    whole = make_scorer(model)
    names = ("user_chunk", "item_block", "pairs_at_once")
    parts = make_scorer(model, **dict(zip(names, sizes, strict=True)))
    np.testing.assert_allclose(parts.score(users), whole.score(users), atol=1e-6)
    one_by_one = [
        parts.score({name: x[row : row + 1] for name, x in users.items()})
        for row in range(N_USERS)
    ]
    np.testing.assert_allclose(
        np.concatenate(one_by_one), whole.score(users), atol=1e-6
    )


def test_ranks_do_not_depend_on_chunks(deepfm):
    users, items = make_features()
    positives = np.arange(1, N_USERS + 1) * 5
    seen = np.arange(2 * N_USERS) + 1, np.arange(N_USERS + 1) * 2
    found = [
        full_ranking(
            make_scorer(deepfm, items, user_chunk=chunk, item_block=block),
            users,
            positives,
            seen,
            rows_at_once=rows,
        )
        for chunk, block, rows in [(16, 1024, None), (1, 3, 4), (4, 17, 1), (3, 20, 9)]
    ]
    for other in found[1:]:
        assert other.above.tolist() == found[0].above.tolist()
        assert other.ties.tolist() == found[0].ties.tolist()


SPEC = FeatureSpec(n_users=N_USERS, n_items=70, n_attributes=N_ATTRIBUTES)


def random_backbone(name):
    small = {"dnn_hidden_units": (40, 24)}
    model = build_backbone(name, SPEC, embedding_dim=16, embedding_stddev=0.5, **small)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.shape.rank < 2 and "variance" not in weight.name:
            weight.assign(rng.normal(0, 0.1, weight.shape))
    return model


def random_users(rng):
    users = {
        "history": rng.integers(0, SPEC.n_items + 1, (N_USERS, 20)),
        "history_attributes": rng.integers(0, N_ATTRIBUTES + 1, (N_USERS, 160)),
    }
    users["history"][:, ::3] = 0
    users["history"][0] = 0
    return users


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_backbones_score_alike_in_any_chunks(name):
    model = random_backbone(name)
    rng = np.random.default_rng(1)
    users = random_users(rng)
    attributes = rng.integers(0, N_ATTRIBUTES, (SPEC.n_items, 8))
    items = {"item": np.arange(SPEC.n_items) + 1, "item_attributes": attributes}
    scorer = GridScorer(model, item_inputs=ITEM_INPUTS)
    found = []
    for sizes in [
        (4096, 1024, 16384),
        (1, 3, 1),
        (4, 17, 40),
        *rng.integers([1, 1, 1], [10, 71, 300], (4, 3)).tolist(),
    ]:
        scorer.user_chunk, scorer.item_block, scorer.pairs_at_once = sizes
        scorer.set_items(items)
        found.append(scorer.score(users))
    # To rounding: which kernels multiply matrices of few rows is the processor's.
    scale = np.abs(found[0]).max()
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_twin_items_tie(name):
    rng = np.random.default_rng(1)
    users = random_users(rng)
    twins = rng.integers(0, N_ATTRIBUTES, (35, 8))
    scorer = GridScorer(random_backbone(name), item_inputs=ITEM_INPUTS)
    scorer.set_items(
        {
            "item": np.arange(SPEC.n_items) % 35 + 1,
            "item_attributes": np.tile(twins, (2, 1)),
        }
    )
    positives = np.arange(N_USERS) * 7 + 1
    seen = np.arange(N_USERS) + 1, np.arange(N_USERS + 1)
    ranked = full_ranking(scorer, users, positives, seen)
    assert sum(ranked.ties) >= N_USERS - 2


def test_memory_is_bounded():
    """The largest tensors are one slice's, whatever the number of users and items."""
    model = random_backbone("din")
    scorer = GridScorer(
        model, item_inputs=ITEM_INPUTS, user_chunk=6, item_block=32, pairs_at_once=64
    )
    scorer.set_items(
        {
            "item": np.arange(70) + 1,
            "item_attributes": np.zeros((70, 8)),
        }
    )
    sizes = {"rows": [], "table": []}
    run_pairs, run_block = scorer._run_pairs, scorer._run_block

    def pairs(*inputs):
        logits = run_pairs(*inputs)
        sizes["rows"].append(tuple(logits.shape))
        return logits

    def block(*inputs):
        tables = run_block(*inputs)
        sizes["table"] += [tuple(table.shape) for table in tables]
        return tables

    scorer._run_pairs, scorer._run_block = pairs, block
    history = np.random.default_rng(0).integers(1, 71, (N_USERS, 20))
    history[:, 2:] = 0
    scorer.score({"history": history, "history_attributes": np.zeros((N_USERS, 160))})
    assert max(rows * columns for rows, columns in sizes["rows"]) <= 64
    # Two items a user and the padding.
    assert all(rows <= 13 and columns <= 32 for rows, columns in sizes["table"])


def test_fields_meet_only_as_halves(deepfm):
    # 3 user and 2 item fields of size 8: none of them is repeated for every pair.
    scorer = GridScorer(deepfm, item_inputs=ITEM_INPUTS)
    for side in ("user", "item"):
        shapes = sorted(term.shape for term in scorer._frontier[side])
        assert shapes == [(1,), (8,), (20,)]


def test_rules_change_nothing(model, monkeypatch):
    users, _ = make_features()
    split = make_scorer(model).score(users)
    monkeypatch.setattr(grid_graph, "SPLIT_RULES", {})
    np.testing.assert_allclose(make_scorer(model).score(users), split, atol=1e-5)


def test_functions_run_eagerly(model):
    users, _ = make_features()
    scorer = make_scorer(model)
    scores = scorer.score(users)
    tf.config.run_functions_eagerly(True)
    try:
        scorer.set_items(make_features()[1])
        np.testing.assert_allclose(scorer.score(users), scores, atol=1e-6)
    finally:
        tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize("dnn", [{"use_bn": True}, {"activation": "dice"}])
def test_variants_of_the_perceptron(dnn):
    model = make_deepfm(**dnn)
    users, items = make_features()
    for layer in model.layers:  # moving statistics that are not those of a fresh layer
        if isinstance(layer, deepctr_layers.DNN):
            rng = np.random.default_rng(0)
            layer.set_weights([w + rng.random(w.shape) for w in layer.get_weights()])
    np.testing.assert_allclose(
        make_scorer(model).score(users),
        predict(model, users, items),  # up to 40
        rtol=1e-6,
        atol=1e-5,
    )


def test_reads_the_weights_of_now(deepfm):
    users, items = make_features()
    scorer = make_scorer(deepfm)
    scorer.score(users)
    old = deepfm.get_weights()
    try:
        deepfm.set_weights([weight * 1.5 for weight in old])
        scorer.set_items(items)
        np.testing.assert_allclose(
            scorer.score(users), predict(deepfm, users, items), atol=1e-4
        )
    finally:
        deepfm.set_weights(old)


def test_inputs_as_a_list_and_nested_models():
    age, price = keras.Input([2], name="age"), keras.Input([2], name="price")
    inner_input = keras.Input([4])
    inner = keras.Sequential([layers.Dense(3, activation="relu"), layers.Dropout(0.5)])
    nested = keras.Model(inner_input, inner(inner_input))
    joined = layers.Concatenate()([age, price])
    model = keras.Model([age, price], layers.Dense(1)(nested(joined)))
    scorer = GridScorer(model, item_inputs=["price"])
    rng = np.random.default_rng(0)
    ages, prices = rng.normal(size=(3, 2)), rng.normal(size=(5, 2))
    scorer.set_items({"price": prices})
    expected = model.predict(
        [np.repeat(ages, 5, axis=0), np.tile(prices, (3, 1))], verbose=0
    )
    np.testing.assert_allclose(
        scorer.score({"age": ages, "unused": 1}), expected.reshape(3, 5), atol=1e-6
    )


def test_a_model_of_one_side_only():
    user, item = keras.Input([1], name="user"), keras.Input([1], name="item")
    model = keras.Model([user, item], layers.Dense(1)(item))
    scorer = GridScorer(model, item_inputs=["item"])
    scorer.set_items({"item": np.arange(4.0)})
    scores = scorer.score({"user": np.zeros(2)})
    np.testing.assert_allclose(
        scores, np.tile(np.arange(4) * model.get_weights()[0].item(), (2, 1))
    )


def test_mixed_precision_goes_the_general_way():
    user, item = keras.Input([4], name="user"), keras.Input([4], name="item")
    joined = layers.Concatenate()([user, item])
    hidden = layers.Dense(4, dtype=keras.mixed_precision.Policy("mixed_bfloat16"))
    model = keras.Model([user, item], layers.Dense(1, dtype="float32")(hidden(joined)))
    scorer = GridScorer(model, item_inputs=["item"])
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(2, 4)), rng.normal(size=(6, 4))
    scorer.set_items({"item": items})
    expected = model.predict(
        [np.repeat(users, 6, axis=0), np.tile(items, (2, 1))], verbose=0
    )
    np.testing.assert_allclose(
        scorer.score({"user": users}), expected.reshape(2, 6), atol=1e-6
    )


class Centred(layers.Layer):
    def call(self, x):
        return x - tf.reduce_mean(x, axis=0, keepdims=True)


@pytest.mark.parametrize("side", ["user", "item"])
def test_rows_that_depend_on_each_other_are_refused(side):
    inputs = {name: keras.Input([1], name=name) for name in ("user", "item")}
    joined = layers.Multiply()([Centred()(inputs[side]), *inputs.values()])
    model = keras.Model(inputs, joined)
    scorer = GridScorer(model, item_inputs=["item"])
    scorer.set_items({"item": np.arange(7.0)})
    with pytest.raises(ConfigError, match="own row only.*differ by up to"):
        scorer.score({"user": np.arange(5.0)})


class FixedBatch(layers.Layer):
    def call(self, x):
        return x + tf.ones([7, 1])


class NotRows(layers.Layer):
    def call(self, x):
        return tf.matmul(tf.reshape(x, [1, -1]), tf.ones([7, 1]))


@pytest.mark.parametrize("layer", [FixedBatch, NotRows])
def test_a_fixed_number_of_rows_is_refused(layer):
    inputs = {name: keras.Input([1], name=name) for name in ("user", "item")}
    both = layers.Multiply()(list(inputs.values()))
    model = keras.Model(inputs, layer()(both))
    scorer = GridScorer(model, item_inputs=["item"])
    scorer.set_items({"item": np.arange(7.0)})
    with pytest.raises(
        ConfigError, match="own row only.*Received: (Incompatible shapes|Matrix size)"
    ):
        scorer.score({"user": np.arange(5.0)})


def test_shapes_that_do_not_fit_pairs_are_refused():
    user, item = keras.Input([1], name="user"), keras.Input([1], name="item")
    counted = tf.reshape(layers.Concatenate()([user, item]), [tf.shape(user)[0], 2])
    model = keras.Model([user, item], layers.Dense(1)(counted))
    with pytest.raises(ConfigError, match="one row an example"):
        GridScorer(model, item_inputs=["item"])


class Filled(layers.Layer):
    def call(self, x):
        return tf.RaggedTensor.from_tensor(x, padding=0)


class RaggedSum(layers.Layer):
    def call(self, inputs):
        x, y = inputs
        return tf.reduce_sum(x, axis=1, keepdims=True) + y


def test_ragged_tensors_stay_on_their_side():
    user, item = keras.Input([3], name="user"), keras.Input([1], name="item")
    total = RaggedSum()([Filled()(user), layers.Flatten()(user)[:, :1]])
    model = keras.Model([user, item], layers.Add()([total, item]))
    scorer = GridScorer(model, item_inputs=["item"])
    scorer.set_items({"item": [0.0, 1.0]})
    assert scorer.score({"user": [[1, 2, 0], [4, 0, 0]]}).tolist() == [[4, 5], [8, 9]]
    model = keras.Model([user, item], RaggedSum()([Filled()(user), item]))
    with pytest.raises(
        ConfigError, match="must be dense.*ragged_sum.*RaggedTensorSpec"
    ):
        GridScorer(model, item_inputs=["item"])


def test_bad_models():
    user, item = keras.Input([2], name="user"), keras.Input([2], name="item")
    joined = layers.Concatenate()([user, item])
    wide = keras.Model([user, item], layers.Dense(2)(joined))
    with pytest.raises(ConfigError, match=r"one output of shape \[rows, 1\].*\(2,\)"):
        GridScorer(wide, item_inputs=["item"])
    two = keras.Model([user, item], [layers.Dense(1)(user), layers.Dense(1)(item)])
    with pytest.raises(ConfigError, match="one output"):
        GridScorer(two, item_inputs=["item"])
    for other in (keras.Sequential([layers.Dense(1)]), object()):
        with pytest.raises(ConfigError, match="functional"):
            GridScorer(other, item_inputs=["item"])
    sparse = keras.Input([2], name="item", sparse=True)
    mixed = layers.Add()([layers.Dense(1)(user), layers.Dense(1)(sparse)])
    with pytest.raises(ConfigError, match="dense inputs.*'item'"):
        GridScorer(keras.Model([user, sparse], mixed), item_inputs=["item"])


@pytest.mark.parametrize(
    "item_inputs", [[], ["price"], ["item", "item_attributes", "history", "nope"]]
)
def test_bad_item_inputs(deepfm, item_inputs):
    with pytest.raises(ConfigError, match="`item_inputs`"):
        GridScorer(deepfm, item_inputs=item_inputs)
    with pytest.raises(ConfigError, match="`item_inputs`"):
        GridScorer(deepfm, item_inputs=list(deepfm.input))


def test_bad_sizes(deepfm):
    for name in ("user_chunk", "item_block", "pairs_at_once"):
        with pytest.raises(ConfigError, match=f"`{name}`.*Received: 0"):
            GridScorer(deepfm, item_inputs=ITEM_INPUTS, **{name: 0})


def test_bad_features(deepfm):
    users, items = make_features()
    scorer = GridScorer(deepfm, item_inputs=ITEM_INPUTS)
    assert scorer.n_items == 0
    with pytest.raises(ConfigError, match="set_items"):
        scorer.score(users)
    with pytest.raises(DataError, match="'item_attributes'.*Received: .'item'"):
        scorer.set_items({"item": items["item"]})
    with pytest.raises(DataError, match="same number of rows.*'item': 3"):
        scorer.set_items({**items, "item": np.arange(3)})
    with pytest.raises(DataError, match="at least 1"):
        scorer.set_items({name: x[:0] for name, x in items.items()})
    with pytest.raises(DataError, match=r"shape \[rows, 3\]. Received: \[53, 2\]"):
        scorer.set_items({**items, "item_attributes": np.zeros((53, 2))})
    with pytest.raises(DataError, match=r"item features.*indices\[52,0\] = 54"):
        scorer.set_items({**items, "item": items["item"] + 1})
    scorer.set_items(items)
    assert scorer.n_items == N_ITEMS
    with pytest.raises(DataError, match="user features.*'user'"):
        scorer.score({name: x for name, x in users.items() if name != "user"})
    with pytest.raises(DataError, match=r"'history'.*Received: \[\]"):
        scorer.score({**users, "history": 0})
    with pytest.raises(DataError, match="beyond its table.*= 10 is not in"):
        scorer.score({**users, "user": users["user"] + 1})
