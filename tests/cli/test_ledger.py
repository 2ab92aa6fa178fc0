from keras_sllmr.cli.ledger import StageLedger


def make(path, text, calls):
    def write():
        calls.append(text)
        path.write_text(text)

    return write


def test_runs_once_and_again_when_anything_changes(tmp_path):
    output, calls = tmp_path / "out.txt", []

    def run(inputs, text="a", force=False):
        ledger = StageLedger(tmp_path, force=force)
        ledger.run("stage", inputs, output, make(output, text, calls))
        return ledger.stages[0]

    assert run({"x": 1})["skipped"] is False
    again = run({"x": 1})
    assert again["skipped"] is True
    assert again["seconds"] >= 0
    assert run({"x": 2}, "b")["skipped"] is False  # other settings
    output.write_text("damaged")
    assert run({"x": 2}, "b")["skipped"] is False  # other output
    output.unlink()
    assert run({"x": 2}, "b")["skipped"] is False  # no output
    assert run({"x": 2}, "b", force=True)["skipped"] is False
    assert calls == ["a", "b", "b", "b", "b"]


def test_a_failed_stage_leaves_no_record(tmp_path):
    def fail():
        raise RuntimeError("no")

    ledger = StageLedger(tmp_path)
    try:
        ledger.run("stage", {}, tmp_path / "out", fail)
    except RuntimeError:
        pass
    assert not (tmp_path / "stages" / "stage.json").exists()
    assert ledger.stages == []
