import inspect
import subprocess
import sys

from keras_sllmr.store.importers import IMPORTERS


def test_importers_share_their_options():
    assert list(IMPORTERS) == ["tables", "amazon", "movielens", "steam"]
    shared = {"on_bad", "min_events", "keep_unseen_items", "progress"}
    for reader in IMPORTERS.values():
        assert shared <= set(inspect.signature(reader).parameters)


def test_importing_them_loads_no_tensorflow():
    code = (
        "import sys, keras_sllmr.store.importers\n"
        "print({'tensorflow', 'recbole', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
