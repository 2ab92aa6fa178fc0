def test_a_strategy_without_its_cluster(tmp_path, store, run_sllmr, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for name in ("multi_worker", "parameter_server"):
        code, _, errors = run_sllmr(
            "train", "none", store, "--to", tmp_path / "model", "--strategy", name
        )
        assert code == 2 and f"{name!r} needs TF_CONFIG" in errors
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_strategy(tmp_path, store, run_sllmr):
    code, _, errors = run_sllmr(
        "train", "none", store, "--to", tmp_path / "model", "--strategy", "tpu"
    )
    assert code == 2 and "tpu" in errors
