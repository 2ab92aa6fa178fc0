"""The batch pipelines on every runner: the same sorted records? And with workers killed?

    python benchmarks/runner_equality.py --data shared/data/amazon2014/beauty --work runs/eq

Runs store, score table, requests, training records and batch inference on the tables of
one domain: in this process, by the DirectRunner in memory and with two processes, and by
a Dask cluster of two. A stage's mark is a hash of all its records, sorted, view by view.
Then the training records once more with a worker killed (SIGKILL) in the middle, on each
of the two runners that have worker processes. Results are kept as they come in
`equality.json`; killed, it goes on with the runner it was at.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from batch_runs import RUNNERS, commands, finished, runner_options, started

from keras_sllmr.compat import tf
from keras_sllmr.io.atomic import read_json, write_json
from keras_sllmr.io.tfrecord import example, write_shards
from keras_sllmr.store.feature_store import FeatureStore

CONFIG = {"name": "equality", "score": {"teacher": "tfidf"}}
LLM = {
    "name": "equality",
    "score": {
        "teacher": "llm",
        "llm": {"model": "gpt-4o-mini"},
        "candidates": {"near": 0, "tail_near": 0},
    },
}
EXAMPLES, SHARD = 100_000, 5_000


def mark(folder: Path) -> dict[str, Any]:
    """How many records a folder holds, and one hash of all of them, sorted by view."""
    digest, count = hashlib.sha256(), 0
    views: dict[str, list[bytes]] = {}
    for file in sorted(folder.rglob("*")):
        view = str(file.parent.relative_to(folder))
        if file.suffix == ".tfrecord":
            found = list(tf.data.TFRecordDataset(str(file)).as_numpy_iterator())
        elif file.suffix == ".jsonl":
            found = file.read_bytes().splitlines()
        else:
            continue
        views.setdefault(view, []).extend(found)
    for view, records in sorted(views.items()):
        count += len(records)
        digest.update(f"{view} {len(records)} ".encode())
        for record in sorted(records):
            digest.update(len(record).to_bytes(8, "little") + record)
    return {"records": count, "mark": digest.hexdigest()}


def prepare(tables: Path, work: Path) -> tuple[Path, Path]:
    """An export of a plain model and examples for it, made unless there."""
    store, examples = work / "plain" / "store", work / "examples"
    exported = work / "export"
    if not examples.exists():
        cli = [sys.executable, "-m", "keras_sllmr.cli.main"]
        for command in (
            ["import", str(tables), "--store", str(store)],
            ["train", "none", str(store), "--to", str(work / "model"), "--epochs", "1"],
            [
                *("export", str(store), str(work / "model")),
                *("--name", "plain", "--to", str(exported)),
            ],
        ):
            subprocess.run([*cli, *command], check=True, stdout=subprocess.DEVNULL)
        kept = FeatureStore(store)
        draw = np.random.default_rng(5)
        users = draw.integers(1, kept.n_users + 1, EXAMPLES)
        items = draw.integers(1, kept.n_items + 1, EXAMPLES)
        records = (
            example(
                user_id=kept.user_ids[user],
                item_id=kept.item_ids[item],
                history=[kept.item_ids[i] for i in kept.events.row(user)[-20:]],
            )
            for user, item in zip(users, items, strict=True)
        )
        write_shards(examples, records, count=EXAMPLES, shard_size=SHARD)
    (version,) = (path.parent for path in exported.rglob("saved_model.pb"))
    return version, examples


def run(command: Sequence[str], options: Sequence[str]) -> None:
    code, said, _ = finished(started(command, options))
    if code:
        raise SystemExit(f"{' '.join(command)} failed:\n{said[-3000:]}")


def children(pid: int) -> list[int]:
    """All processes below one, the lowest first."""
    import psutil

    return [one.pid for one in psutil.Process(pid).children(recursive=True)][::-1]


def kill_a_worker(
    command: Sequence[str], options: Sequence[str], output: Path
) -> dict[str, Any]:
    """Starts a pipeline and kills one worker once a stage has its first results."""
    shutil.rmtree(output, ignore_errors=True)
    work = output.with_name("faults")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    process = started([*command, "--work", str(work)], options)
    while not any(work.rglob("result.*")):
        if process.poll() is not None:
            raise SystemExit(f"Nothing to kill: {finished(process)[1][-3000:]}")
        time.sleep(0.02)
    # Of Dask the workers are below this process, of Beam's below the pipeline's.
    dask = any("DaskRunner" in option for option in options)
    if dask:
        import distributed

        (address,) = (o.partition("=")[2] for o in options if "address" in o)
        with distributed.Client(address) as client:
            killed = next(iter(client.run(os.getpid).values()))
    else:
        killed = children(process.pid)[0]
    os.kill(killed, signal.SIGKILL)
    code, said, _ = finished(process)
    left = sorted(path.name for path in work.iterdir())
    found = {"exit_code": code, "output": output.exists(), "left": left}
    return found | ({"said": said.strip().splitlines()[-1]} if code else {})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="Folder of tables.")
    parser.add_argument("--work", type=Path, required=True, help="Folder.")
    parser.add_argument("--runners", nargs="+", choices=RUNNERS, default=list(RUNNERS))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    path = given.work / "equality.json"
    results: dict[str, Any] = read_json(path) if path.exists() else {}
    configs = given.work / "local.yaml", given.work / "llm.yaml"
    for config, settings in zip(configs, (CONFIG, LLM), strict=True):
        write_json(config, settings)
    export, examples = prepare(given.data, given.work)
    for runner in given.runners:
        to = given.work / runner
        stages: dict[str, tuple[str, ...]] = {
            **commands(given.data, to, *configs),
            "predictions": (
                *("batch_inference.py", str(export), "--examples", str(examples)),
                *("--to", str(to / "predictions")),
            ),
        }
        faults = f"{runner}, a worker killed"
        if faults in results or (
            runner in ("in_process", "beam")
            and all(f"{stage}, {runner}" in results for stage in stages)
        ):
            continue
        with runner_options(runner) as options:
            for stage, command in stages.items():
                key = f"{stage}, {runner}"
                if key not in results:
                    run(command, options)
                    results[key] = mark(to / stage)
                    write_json(path, results)
                print(key, json.dumps(results[key]), flush=True)
            if runner in ("processes", "dask"):
                command = stages["records"]
                found = kill_a_worker(command, options, to / "records")
                if found["exit_code"]:
                    run(command, options)
                found |= {"then": mark(to / "records")}
                results[faults] = found
                write_json(path, results)
                print(faults, json.dumps(found), flush=True)
        shutil.rmtree(to)
    marks: dict[str, set[str]] = {}
    for key, found in results.items():
        if "mark" in found:
            marks.setdefault(key.partition(",")[0], set()).add(found["mark"])
        else:
            marks["records"].add(found["then"]["mark"])
    for stage, values in marks.items():
        print(stage, "equal" if len(values) == 1 else "NOT EQUAL", flush=True)
    raise SystemExit(any(len(values) > 1 for values in marks.values()))


if __name__ == "__main__":
    main()
