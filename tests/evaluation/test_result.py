import numpy as np
import pytest

from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.evaluation.result import Result, find_results


def make(method="none", seed=0, rows=11):
    rng = np.random.default_rng(seed)
    return Result(
        {
            "domain": "shop",
            "backbone": "deepfm",
            "method": method,
            "seed": seed,
            "rows": "r",
            "k": 10,
        },
        users=np.arange(1, rows + 1),
        slices={
            "all": np.ones(rows, bool),
            "genres: Sci-Fi / war": rng.random(rows) < 0.5,
        },
        pools={"tail_rows": rng.random(2 * rows) < 0.3},
        logits=rng.normal(size=2 * rows).astype(np.float32),
        ranks={name: rng.integers(0, 9, rows) for name in ("above", "ties")},
    )


def test_round_trip(tmp_path):
    result = make()
    result.write(tmp_path / "a.npz")
    again = Result.read(tmp_path / "a.npz")
    assert again.about == result.about
    assert again.identity == ("shop", "deepfm", "none", 0)
    for name in ("users", "logits"):
        assert np.array_equal(getattr(again, name), getattr(result, name))
    for name in ("slices", "pools", "ranks"):
        ours, theirs = getattr(again, name), getattr(result, name)
        assert list(ours) == list(theirs)
        assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)


def test_equal_results_are_equal_bytes(tmp_path):
    make().write(tmp_path / "a.npz")
    make().write(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_slices_of_sampled_rows_and_counts():
    result = make()
    sampled = result.sampled()
    assert list(sampled) == ["all", "genres: Sci-Fi / war", "tail_rows"]
    assert sampled["all"].shape == (22,)
    assert result.labels.tolist() == [1] * 11 + [0] * 11
    tail = result.pools["tail_rows"]
    assert result.counts()["tail_rows"] == {
        "rows": tail.sum(),
        "users": len(set(np.tile(result.users, 2)[tail])),
    }


def test_missing_or_damaged(tmp_path):
    with pytest.raises(StoreError, match="Run `sllmr evaluate`"):
        Result.read(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(StoreError, match="no result of this version, or damaged"):
        Result.read(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(StoreError, match="other.npz"):
        Result.read(tmp_path / "other.npz")
    make().write(tmp_path / "cut.npz")
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="cut.npz"):
        Result.read(tmp_path / "cut.npz")


def test_find_results(tmp_path):
    for method in ("sllmr", "none"):
        (tmp_path / "runs" / method).mkdir(parents=True)
        make(method).write(tmp_path / "runs" / method / "a.npz")
    found = find_results([tmp_path / "runs", tmp_path / "runs" / "none" / "a.npz"])
    assert [result.about["method"] for result in found] == ["none", "sllmr"]
    make("none").write(tmp_path / "again.npz")
    with pytest.raises(ConfigError, match=r"again.npz.*shop deepfm none 0"):
        find_results([tmp_path])
    (tmp_path / "runs" / "nothing").mkdir()
    with pytest.raises(ConfigError, match="none below"):
        find_results([tmp_path / "runs" / "nothing"])
