"""What the scripts of batch pipelines share: their runner and their errors."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keras_sllmr.errors import ConfigError, SllmrError
from keras_sllmr.pipeline.in_process import InProcess
from keras_sllmr.pipeline.stage import Runner


class PipelineCommand:
    """The command line of a batch pipeline: its own options, the rest Beam's.

    Args:
        description: what the pipeline does.

    Example:
        >>> command = PipelineCommand("Squares numbers.")
        >>> command.add("--to", required=True, help="Folder to write.")
        >>> given, runner = command.parse(["--to", "squares", "--in-process"])
        >>> given.to, type(runner).__name__
        ('squares', 'InProcess')
    """

    def __init__(self, description: str) -> None:
        self._parser = argparse.ArgumentParser(
            description=description,
            epilog="All other options are Apache Beam's, e.g. --runner=DirectRunner "
            "--direct_running_mode=multi_processing --direct_num_workers=4.",
            allow_abbrev=False,
        )
        self.add(
            "--in-process",
            action="store_true",
            help="Run in this process, without Beam, in bounded memory.",
        )
        self.add(
            "--work",
            type=Path,
            help="Folder for files between stages, which all workers see. Needed by "
            "runners on several machines.",
        )

    def add(self, *names: str, **options: Any) -> None:
        """Adds an option, as `argparse` takes it."""
        self._parser.add_argument(*names, **options)

    def parse(self, argv: Sequence[str] | None = None) -> tuple[Any, Runner]:
        """The options given, and the runner that they name.

        Raises:
            ConfigError: on options of Beam's without Beam.
            EnvironmentProblem: when Beam is not installed.
        """
        given, others = self._parser.parse_known_args(argv)
        if not given.in_process:
            from keras_sllmr.pipeline.beam import Beam

            return given, Beam(others, folder=given.work, told=_told)
        if others:
            raise ConfigError(
                "With --in-process there are no options of Beam's. Received: "
                f"{' '.join(others)}"
            )
        return given, InProcess(given.work, told=_told)


def _told(stage: str) -> None:
    print(f"{stage} …", file=sys.stderr, flush=True)


def run_command(main: Callable[[], dict[str, Any]]) -> None:
    """Runs a pipeline's `main`, prints its result as JSON, and its errors as a line."""
    try:
        print(json.dumps(main(), default=str))
    except SllmrError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
