"""One model's training in a process of its own, by windows of time.

    python benchmarks/training_worker.py '{"side": "plain", "backbone": "deepfm", …}'

Each line on standard input is a number of seconds: `fit` goes on for that long and the
labelled rows a second are answered on standard output. At the end of the input the
highest resident memory is answered.
"""

import contextlib
import json
import os
import resource
import sys
from pathlib import Path

from keras_sllmr.cli.quiet import start_tensorflow


def peak_mb() -> float:
    """The highest resident memory of this process so far, in MB."""
    with contextlib.suppress(OSError):
        # Unlike getrusage's, this figure is not inherited from the parent.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


def main() -> None:
    options = json.loads(sys.argv[1])
    # Whatever the libraries print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(values: dict[str, float]) -> None:
        print(json.dumps(values), file=answers, flush=True)

    start_tensorflow()
    from timed_fit import fit

    fit(options, sys.stdin, answer)
    answer({"peak_mb": peak_mb()})


if __name__ == "__main__":
    main()
