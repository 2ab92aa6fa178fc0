"""An export in `saved_model_cli`, TensorFlow's own tool."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.serving.export import load_export

CLI = Path(sys.executable).with_name("saved_model_cli")
pytestmark = pytest.mark.skipif(not CLI.exists(), reason=f"no {CLI}")


@pytest.fixture(scope="module")
def said(exported, tmp_path_factory):
    """What the commands print. Each starts TensorFlow, so they run side by side."""
    outputs = tmp_path_factory.mktemp("outputs")
    inputs = 'candidates=[["a","e,f","new"]];history=[["a","new"]];k=[2]'
    options = {
        "show": ["--all"],
        "scan": ["--tag_set", "serve"],
        "run": ["--tag_set", "serve", "--signature_def", "rank"]
        + ["--input_exprs", inputs, "--outdir", outputs],
    }
    running = {
        command: subprocess.Popen(
            [CLI, command, "--dir", exported.path, *given],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command, given in options.items()
    }
    said = {}
    for command, process in running.items():
        said[command], errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors[-2000:]
    return said | {"outputs": outputs}


def test_show(said):
    """Every signature with its method, and types and shapes of what it takes."""
    parts = said["show"].split("\nsignature_def['")
    shown = {part.partition("']")[0]: part for part in parts}
    for name, method in (
        ("serving_default", "predict"),
        ("rank", "predict"),
        ("serve_examples", "predict"),
        ("classify", "classify"),
        ("regress", "regress"),
    ):
        assert f"Method name is: tensorflow/serving/{method}\n" in shown[name] + "\n"
    takes, _, gives = shown["rank"].partition("    outputs['")
    assert takes.count("    inputs['") == 3 and "inputs['candidates']" in takes
    assert takes.count("dtype: DT_STRING\n        shape: (-1, -1)") == 2
    assert "inputs['k'] tensor_info:\n        dtype: DT_INT32" in takes
    assert gives.count("shape: (-1, -1)") == 5


def test_run(said, exported):
    model = load_export(exported.path)
    expected = model.signatures["serving_default"](
        item_id=tf.constant(["a", "e,f", "new"]),
        history=tf.constant([["a", "new"]] * 3),
    )["score"].numpy()
    found = {
        path.stem: np.load(path, allow_pickle=True)
        for path in said["outputs"].iterdir()
    }
    assert found["score"][0] == pytest.approx(expected, abs=1e-6)
    assert found["top_item_id"].shape == (1, 2)
    assert found["top_score"][0] == pytest.approx(np.sort(expected)[:0:-1], abs=1e-6)


def test_scan(said):
    """Nothing in it prints, or reads and writes files, while it serves."""
    assert "does not contain the default denylisted ops" in said["scan"]
