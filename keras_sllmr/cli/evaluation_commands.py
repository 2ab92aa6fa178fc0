"""The commands that settle arguments: evaluate, compare, report."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from keras_sllmr.cli.common import Config, Json, Seed, Store, open_split
from keras_sllmr.cli.config import load_config
from keras_sllmr.cli.quiet import start_tensorflow
from keras_sllmr.errors import StoreError
from keras_sllmr.settings import settings_of

app = typer.Typer()


@app.command()
def evaluate(
    store: Store,
    models: Annotated[
        list[Path], typer.Argument(help="Model folders; the first is the baseline.")
    ],
    to: Annotated[
        Path | None, typer.Option(help="Folder for the results and their comparison.")
    ] = None,
    domain: Annotated[
        str | None, typer.Option(help="What to call the data; the store's folder.")
    ] = None,
    full: Annotated[
        bool, typer.Option(help="Rank against the whole catalogue too.")
    ] = True,
    config: Config = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Compare models on all, cold-user, long-tail and your own slices of the test rows."""
    start_tensorflow()
    import tempfile

    from keras_sllmr.cli import stages
    from keras_sllmr.cli.comparison_view import show_comparison
    from keras_sllmr.evaluation.compare import compare as compare_results
    from keras_sllmr.evaluation.heldout import EvaluationSettings, TestRows
    from keras_sllmr.evaluation.result import Result
    from keras_sllmr.training.trained_model import TrainedModel

    names = stages.result_names(models)
    values = load_config(config).evaluate if config else {}
    values = {"seed": seed, **values, **({} if full else {"full": False})}
    settings = settings_of(EvaluationSettings, values, "evaluate")
    rows = TestRows(open_split(store), settings)
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for path, method in zip(models, names, strict=True):
            file = (to or Path(scratch)) / f"{path.name}.npz"
            stages.evaluate_method(
                TrainedModel(path),
                rows,
                file,
                domain=domain or store.resolve().name,
                method=method,
            )
            results.append(Result.read(file))
    baseline = results[0].about["method"]
    comparison = compare_results(
        results, settings=settings.compare.model_copy(update={"baseline": baseline})
    )
    show_comparison({"name": "evaluation", **comparison}, to, json)


@app.command()
def compare(
    results: Annotated[
        list[Path],
        typer.Argument(help="Results (.npz), and folders of runs, grids, evaluations."),
    ],
    to: Annotated[
        Path | None, typer.Option(help="Folder for CSV, Markdown, LaTeX, HTML, JSON.")
    ] = None,
    name: Annotated[str, typer.Option(help="Title of the report.")] = "comparison",
    published: Annotated[
        Path | None,
        typer.Option(help="CSV of published figures, to stand beside the results'."),
    ] = None,
    baseline: Annotated[
        str, typer.Option(help="The method that the others are compared with.")
    ] = "none",
    seeds: Annotated[
        Literal["resampled", "fixed"],
        typer.Option(help="Are intervals about further training runs, or about these?"),
    ] = "resampled",
    level: Annotated[float, typer.Option(help="Of the confidence intervals.")] = 0.95,
    replicates: Annotated[int, typer.Option(help="Bootstrap replicates.")] = 1000,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Compare the results of runs, seeds, backbones and domains with the baseline."""
    from keras_sllmr.cli.comparison_view import show_comparison
    from keras_sllmr.cli.console import progress_bar
    from keras_sllmr.evaluation.compare import CompareSettings
    from keras_sllmr.evaluation.compare import compare as compare_results
    from keras_sllmr.evaluation.published import beside, read_published
    from keras_sllmr.evaluation.result import find_results

    values = {
        "baseline": baseline,
        "seeds": seeds,
        "level": level,
        "replicates": replicates,
        "seed": seed,
    }
    settings = settings_of(CompareSettings, values, "compare")
    found = find_results(results)
    # What is wrong with the file is said before the work.
    figures = None if published is None else read_published(published)
    with progress_bar("Comparing") as progress:
        comparison = compare_results(found, settings=settings, progress=progress)
    if published is not None and figures is not None:
        comparison = beside(comparison, figures, source=published.stem)
    show_comparison({"name": name, **comparison}, to, json)


@app.command()
def report(
    results: Annotated[
        Path,
        typer.Argument(help="A run's or a comparison's folder, or its JSON file."),
    ],
    to: Annotated[
        Path | None, typer.Option(help="The HTML file; beside the JSON by default.")
    ] = None,
) -> None:
    """Write the HTML report of a run or a comparison again, from its JSON file."""
    from keras_sllmr.cli.console import print_line
    from keras_sllmr.evaluation.report import write_comparison, write_report
    from keras_sllmr.io.atomic import read_json

    file = results
    if results.is_dir():
        files = [results / name for name in ("metrics.json", "comparison.json")]
        file = next((one for one in files if one.exists()), files[0])
    if not file.exists():
        raise StoreError(
            f"No results at {file}. Run `sllmr run`, or `sllmr compare --to` a folder."
        )
    found = read_json(file)
    if "groups" in found:
        path = write_comparison(found, to or file.with_name("comparison.html"))
    elif "methods" in found:
        path = write_report(found, to or file.with_name("report.html"))
    else:
        raise StoreError(f"{file} holds neither a run's metrics nor a comparison.")
    print_line(f"Report:  {path}")
