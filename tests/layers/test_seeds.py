from keras_sllmr.layers.seeds import spread_seed


def test_a_seed_gives_the_same_different_seeds() -> None:
    assert spread_seed(7, 5) == spread_seed(7, 5)
    assert len({*spread_seed(7, 5), *spread_seed(8, 5)}) == 10
    assert all(0 <= one < 2**31 for one in spread_seed(7, 100))
    assert spread_seed(7, 5)[:2] == spread_seed(7, 2)


def test_no_seed() -> None:
    assert spread_seed(None, 3) == [None, None, None]
