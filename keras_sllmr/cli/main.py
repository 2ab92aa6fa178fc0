"""The `sllmr` command: one sub-command a stage, and `run` for all of them.

Heavy imports happen inside the commands, so that `--help` is quick.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from keras_sllmr.cli import (
    data_commands,
    evaluation_commands,
    grid_command,
    model_commands,
    score_commands,
    text_commands,
    tune_command,
)
from keras_sllmr.cli.common import Json, show
from keras_sllmr.cli.config import load_config
from keras_sllmr.cli.console import err, print_json
from keras_sllmr.cli.quiet import start_tensorflow
from keras_sllmr.errors import SllmrError

app = typer.Typer(
    name="sllmr",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Improve a Keras ranking model with what a language model knows, at no cost "
    "in serving. Exit codes: 0 done, 2 a wrong setting, 3 bad data, 4 a missing, "
    "damaged or busy store, 5 a missing package, 6 an endpoint that is down or refuses.",
)
app.add_typer(data_commands.app)
app.add_typer(score_commands.app, name="score")
app.add_typer(text_commands.app)
app.add_typer(model_commands.app)
app.add_typer(evaluation_commands.app)
app.add_typer(grid_command.app)
app.add_typer(tune_command.app)


@app.command()
def doctor(json: Json = False) -> None:
    """Show versions, Keras mode, cores, paths and which optional parts are there."""
    from keras_sllmr.cli.doctor import diagnose

    report = diagnose()
    show(report, json)
    if report["problems"]:
        raise typer.Exit(5)


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="The run's YAML file.")],
    data: Annotated[
        Path | None, typer.Option(help="Source data, in place of `import.path`.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    force: Annotated[bool, typer.Option(help="Run every stage again.")] = False,
    json: Json = False,
) -> None:
    """Run every stage of a configuration; stages that are up to date are skipped."""
    start_tensorflow()
    from keras_sllmr.cli.run import run as run_all
    from keras_sllmr.cli.summary import show_run

    settings = load_config(config, data=data)

    def announce(name: str, skipped: bool) -> None:
        err.print(f"{'up to date' if skipped else 'running':>10}  {name}")

    metrics = run_all(settings, runs / settings.name, force=force, announce=announce)
    if json:
        print_json(metrics)
    else:
        show_run(metrics, runs / settings.name)


def main() -> None:
    """Runs the command; a known error is one line and an exit code."""
    try:
        app()
    except SllmrError as error:
        err.print(f"[bold red]Error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        err.print("Interrupted. Run it again to go on.")
        sys.exit(130)


if __name__ == "__main__":
    main()
