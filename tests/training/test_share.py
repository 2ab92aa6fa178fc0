import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sllmr.errors import ConfigError
from keras_sllmr.training.share import Share


@given(
    steps=st.integers(1, 4), each=st.integers(1, 3), replicas=st.sampled_from([1, 2, 3])
)
def test_the_shares_of_all_replicas_are_the_batch(
    steps: int, each: int, replicas: int
) -> None:
    item = np.arange(steps * replicas * each * 2).reshape(steps, replicas * each, 2)
    parts = [Share(replicas, r).of({"item": item})["item"] for r in range(replicas)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), item)


def test_several_replicas_take_turns() -> None:
    found = Share(4, first=2, count=2).of({"user": np.arange(8).reshape(2, 4)})
    assert found["user"].numpy().tolist() == [[2], [3], [6], [7]]


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("user", "`batch.rows`"),
        ("item", "`batch.rows`"),
        ("guidance", "guidance_users`"),
    ],
)
def test_a_batch_that_does_not_divide(name: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match=f"divide by the 2 replicas.*{remedy}"):
        Share(2).of({name: np.zeros((4, 3))})
