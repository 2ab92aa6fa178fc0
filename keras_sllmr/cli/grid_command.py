"""`sllmr grid`, the command."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_sllmr.cli.common import Json
from keras_sllmr.cli.console import err, print_line
from keras_sllmr.cli.quiet import start_tensorflow

app = typer.Typer()


@app.command()
def grid(
    config: Annotated[Path, typer.Argument(help="The grid's YAML file.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder that the domains' paths are below.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    jobs: Annotated[int, typer.Option(help="Cells trained at a time.")] = 1,
    cell: Annotated[
        str | None,
        typer.Option(help="Run this cell alone, here, e.g. beauty/deepfm-sllmr-0."),
    ] = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of other grids, whose equal cells are not run again."
        ),
    ] = None,
    attached: Annotated[bool, typer.Option(hidden=True)] = False,
    json: Json = False,
) -> None:
    """Train and evaluate domains × backbones × methods × seeds, then compare them.

    Cells that have a result are skipped, so a grid that was killed goes on.
    """
    start_tensorflow()
    from keras_sllmr.cli.comparison_view import show_comparison
    from keras_sllmr.cli.console import progress_bar
    from keras_sllmr.cli.grid import Grid, run_cells
    from keras_sllmr.cli.grid_config import Cell, load_grid
    from keras_sllmr.evaluation.compare import compare
    from keras_sllmr.evaluation.metrics import metric_values
    from keras_sllmr.evaluation.result import Result
    from keras_sllmr.io.parent import end_with_parent

    if attached:
        end_with_parent()
    settings = load_grid(config, data=data)
    cells = {one.name: one for one in settings.cells()}
    of_grid = Grid(settings, runs / settings.name)
    if cell is not None:
        named = cells.get(cell)
        if named is None:
            raise typer.BadParameter(
                f"must be one of {', '.join(cells)}. Received: {cell}",
                param_hint="--cell",
            )
        of_grid.run_cell(named)
        return

    def announce(name: str, skipped: bool) -> None:
        err.print(f"{'up to date' if skipped else 'running':>10}  {name}")

    def command(one: Cell) -> list[str]:
        options = [str(config), "--runs", str(runs), "--cell", one.name, "--attached"]
        if data is not None:
            options += ["--data", str(data)]
        return [sys.executable, "-m", "keras_sllmr.cli.main", "grid", *options]

    of_grid.prepare(announce)
    for folder in reuse or []:
        for name in of_grid.reuse(folder):
            print_line(f"    reused  {name}", err)
    results: list[Result] = []
    ended: list[Any] = []
    with progress_bar("Cells") as progress:

        def done(one: Cell, result: Result | None, problem: str) -> None:
            ended.append(one)
            progress(len(ended), len(cells))
            if result is None:
                print_line(f"    failed  {one.name}: {problem}", err)
                return
            results.append(result)
            auc = metric_values(result)["auc_sampled"]["all"][0]
            err.print(f"{auc:>10.4f}  {one.name}")

        problems = run_cells(of_grid, command, jobs=jobs, done=done)
    order = list(cells)
    results.sort(key=lambda r: order.index(Cell(*r.identity).name))
    if results:
        with progress_bar("Comparing") as progress:
            comparison = compare(results, settings=settings.compare, progress=progress)
        show_comparison(
            {"name": settings.name, **comparison}, runs / settings.name, json
        )
    if problems:
        print_line(
            f"{len(problems)} of {len(cells)} cells failed: {', '.join(problems)}. "
            "Run it again to try them again.",
            err,
        )
        raise typer.Exit(1)
