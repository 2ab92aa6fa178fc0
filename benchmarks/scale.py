"""Time, memory and bytes of each batch pipeline as the interactions grow.

    python benchmarks/scale.py --work runs/scale --plot scale.svg
    python benchmarks/scale.py --work runs/scale --sizes 100000 --runners in_process beam

Makes tables of 10⁵, 10⁶ and 10⁷ synthetic interactions (ten a user, items by Zipf's law,
texts of five words), and runs the pipelines on them one after another: the store, a
local teacher's score table, a language model's requests, training records. Each is a
process of its own; core seconds are those of it and its workers, and peak memory is that
of the largest of them.
`in_process` is without Beam, `beam` the DirectRunner in memory, `processes` the one with
two processes. Results are kept as they come in `scale.json`; killed, it goes on.

At the end it prints what each stage costs an interaction between the two largest sizes,
which leaves out what any process takes to start, and what 10⁹ interactions would then.
"""

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from batch_runs import RUNNERS, commands, finished, started
from catalogue_growth import Zipf

from keras_sllmr.io.atomic import read_json, replace_file, write_json

EVENTS, GROUP = 10, 1_000_000
SIDES = ("in_process", "beam", "processes")
# Five candidates a user: what an average one costs, without hours of it.
CONFIG = {
    "name": "scale",
    "score": {
        "teacher": "tfidf",
        "candidates": {
            "near": 0,
            "popular": 2,
            "uniform": 2,
            "cold": 0,
            "tail": 1.0,
            "probe_users": 4000,
        },
    },
}
LLM = {"teacher": "llm", "llm": {"model": "gpt-4o-mini"}}


def tables(folder: Path, interactions: int, seed: int = 0) -> None:
    """Tables of interactions and items, made unless there."""
    if (folder / "items.parquet").exists():
        return
    rng = np.random.default_rng(seed)
    users, n_items = interactions // EVENTS, max(1000, interactions // 50)
    popular = Zipf(n_items, 1.0, rng)
    folder.mkdir(parents=True, exist_ok=True)
    schema = pa.schema(
        [("user_id", pa.string()), ("item_id", pa.string()), ("position", pa.int64())]
    )
    with (
        replace_file(folder / "interactions.parquet") as beside,
        pq.ParquetWriter(beside, schema) as writer,
    ):
        for start in range(0, users, GROUP // EVENTS):
            some = np.arange(start, min(start + GROUP // EVENTS, users))
            events = pa.table(
                {
                    "user_id": [f"u{n:09d}" for n in np.repeat(some, EVENTS)],
                    "item_id": [f"i{n:08d}" for n in popular.draw(len(some) * EVENTS)],
                    "position": np.tile(np.arange(EVENTS), len(some)),
                },
                schema,
            )
            writer.write_table(events)
    words = np.array([f"word{n}" for n in range(5000)])
    drawn = words[rng.integers(0, len(words), (n_items, 5))]
    with replace_file(folder / "items.parquet") as beside:
        pq.write_table(
            pa.table(
                {
                    "item_id": [f"i{n:08d}" for n in range(n_items)],
                    "text": [" ".join(row) for row in drawn],
                    "attributes": [[int(n % 97)] for n in range(n_items)],
                }
            ),
            beside,
        )


def measured(
    command: Sequence[str], options: Sequence[str], output: Path
) -> dict[str, float]:
    """Runs a pipeline: seconds, those of all cores, peak memory, megabytes written."""
    begun = time.monotonic()
    code, said, took = finished(started(command, options))
    if code:
        raise SystemExit(f"{' '.join(command)} failed:\n{said[-2000:]}")
    size = sum(file.stat().st_size for file in output.rglob("*") if file.is_file())
    return {
        "seconds": time.monotonic() - begun,
        **took,
        "written_mb": size / 1e6,
    }


def plan(results: dict[str, Any], target: int = 10**9) -> str:
    """What an interaction costs in each stage, and what `target` of them would."""
    lines = [
        "| runner | stage | core µs an interaction | bytes | core hours at 10⁹ | GB |",
        "|---|---|---|---|---|---|",
    ]
    keys = [key.split("/") for key in results]
    for runner, stage in dict.fromkeys((name, what) for _, name, what in keys):
        sizes = sorted(int(n) for n, *side in keys if side == [runner, stage])[-2:]
        if len(sizes) < 2:
            continue
        less, more = (results[f"{n}/{runner}/{stage}"] for n in sizes)
        seconds, size = (
            (more[name] - less[name]) / (sizes[1] - sizes[0])
            for name in ("cpu_seconds", "written_mb")
        )
        lines.append(
            f"| {runner} | {stage} | {seconds * 1e6:.1f} | {size * 1e6:.1f} | "
            f"{seconds * target / 3600:.1f} | {size * target / 1e3:.0f} |"
        )
    return "\n".join(lines)


def plot(results: dict[str, Any], path: Path) -> None:
    """Core seconds and peak memory of each stage against the interactions."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    stages = list(dict.fromkeys(key.split("/")[2] for key in results))
    for axis, measure, label in zip(
        axes, ("cpu_seconds", "peak_mb"), ("core seconds", "peak, MB"), strict=True
    ):
        for colour, stage in enumerate(stages):
            for style, runner in zip(("-", "--", ":"), SIDES, strict=True):
                points = sorted(
                    (int(size), found[measure])
                    for key, found in results.items()
                    for size, name, what in [key.split("/")]
                    if (name, what) == (runner, stage)
                )
                if points:
                    axis.loglog(
                        *zip(*points, strict=True),
                        style,
                        marker="o",
                        color=f"C{colour}",
                        label=f"{stage}, {runner}",
                    )
        axis.set_xlabel("interactions")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axes[1].legend(fontsize=7, loc="upper left")
    figure.tight_layout()
    with replace_file(path) as beside:
        figure.savefig(beside, format=path.suffix[1:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="Folder.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**5, 10**6, 10**7])
    parser.add_argument("--runners", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--plot", type=Path, help="Picture to write.")
    given = parser.parse_args()
    path = given.work / "scale.json"
    results: dict[str, Any] = read_json(path) if path.exists() else {}
    for size in given.sizes:
        folder = given.work / str(size)
        tables(folder, size)
        configs = folder / "scale.yaml", folder / "llm.yaml"
        for config, more in zip(configs, ({}, LLM), strict=True):
            write_json(config, {**CONFIG, "score": {**CONFIG["score"], **more}})
        for runner in given.runners:
            to = folder / runner
            stages = commands(folder, to, *configs)
            missing = [s for s in stages if f"{size}/{runner}/{s}" not in results]
            for stage, command in stages.items() if missing else ():
                key = f"{size}/{runner}/{stage}"
                if key not in results or not (to / stage).exists():
                    results[key] = measured(command, RUNNERS[runner], to / stage)
                    write_json(path, results)
                print(key, json.dumps(results[key]), flush=True)
            shutil.rmtree(to, ignore_errors=True)
    print(plan(results))
    if given.plot:
        plot(results, given.plot)


if __name__ == "__main__":
    main()
