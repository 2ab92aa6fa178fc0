"""Answers of a language model, or the local teacher's scores, to a score table.

python pipelines/score_table.py stores/shop --config run.yaml --answers out-*.jsonl \
    --to scores/shop
"""

from typing import Any

from keras_sllmr.pipeline.command import PipelineCommand, run_command


def main() -> dict[str, Any]:
    """Writes a score table."""
    command = PipelineCommand(__doc__)
    command.add("store", help="Folder of the store.")
    command.add("--config", help="YAML file of a run: `score` in it.")
    command.add("--text", help="Folder of text vectors. Defaults to TF-IDF alone.")
    command.add("--answers", nargs="+", default=[], help="The Batch API's files.")
    command.add("--to", required=True, help="Folder of the table.")
    command.add("--users-per-part", type=int, default=20_000, help="Default 20000.")
    given, runner = command.parse()
    from keras_sllmr.cli.config import RunConfig, load_config
    from keras_sllmr.cli.score_stage import batch_scoring, calibration_of

    config = load_config(given.config) if given.config else RunConfig(name="scores")
    scoring = batch_scoring(
        config,
        given.store,
        given.text,
        users_per_part=given.users_per_part,
        runner=runner,
    )
    scoring.write_scores(
        given.to,
        answers=given.answers,
        calibration=calibration_of(config.score),
        missing=config.score.missing,
    )
    return {"scores": given.to}


if __name__ == "__main__":
    run_command(main)
