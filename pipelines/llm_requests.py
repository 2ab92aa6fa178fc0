"""Candidates of all users to files of requests for a language model's Batch API.

python pipelines/llm_requests.py stores/shop --config run.yaml --to requests/shop-1
python pipelines/llm_requests.py stores/shop --config run.yaml --answers out-1.jsonl \
    --to requests/shop-2
"""

from typing import Any

from keras_sllmr.pipeline.command import PipelineCommand, run_command


def main() -> dict[str, Any]:
    """Writes the requests that wait for an answer."""
    command = PipelineCommand(__doc__)
    command.add("store", help="Folder of the store.")
    command.add("--config", required=True, help="YAML file of a run: `score` in it.")
    command.add("--text", help="Folder of text vectors. Defaults to TF-IDF alone.")
    command.add("--answers", nargs="+", default=[], help="Files of earlier rounds.")
    command.add("--to", required=True, help="Folder of the requests.")
    command.add("--users-per-part", type=int, default=20_000, help="Default 20000.")
    given, runner = command.parse()
    from keras_sllmr.cli.config import load_config
    from keras_sllmr.cli.score_stage import batch_scoring

    scoring = batch_scoring(
        load_config(given.config),
        given.store,
        given.text,
        users_per_part=given.users_per_part,
        runner=runner,
    )
    return {"to": given.to, **scoring.write_requests(given.to, answers=given.answers)}


if __name__ == "__main__":
    run_command(main)
