"""A comparison on the terminal and in files; needs no TensorFlow."""

from pathlib import Path
from typing import Any

from keras_sllmr.cli.console import out, print_json, print_line
from keras_sllmr.evaluation.report import write_comparison
from keras_sllmr.evaluation.tables import write_tables
from keras_sllmr.evaluation.terminal import compare_tables
from keras_sllmr.io.atomic import write_json


def show_comparison(comparison: dict[str, Any], to: Path | None, json: bool) -> None:
    """A comparison as tables or JSON; with a folder also as files for papers and people."""
    if to is not None:
        write_json(to / "comparison.json", comparison)
        files = write_tables(comparison, to, stem="comparison")
        files.append(write_comparison(comparison, to / "comparison.html"))
    if json:
        print_json(comparison)
        return
    for table in compare_tables(comparison):
        out.print(table)
    if to is not None:
        print_line("Written: " + ", ".join(str(file) for file in files))
