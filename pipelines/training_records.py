"""A store's interactions joined to a score table, as training records.

python pipelines/training_records.py stores/shop --scores scores/shop --to records/shop
"""

from typing import Any

from keras_sllmr.pipeline.command import PipelineCommand, run_command


def main() -> dict[str, Any]:
    """Makes training records."""
    command = PipelineCommand(__doc__)
    command.add("store", help="Folder of the store.")
    command.add("--scores", help="Folder of the score table. Defaults to none.")
    command.add("--to", required=True, help="Folder of the records.")
    command.add("--sets", type=int, default=4, help="Negatives a positive. Default 4.")
    command.add("--history", type=int, default=20, help="Events. Default 20.")
    command.add("--seed", type=int, default=0, help="Of the negatives. Default 0.")
    command.add("--users-per-part", type=int, default=20_000, help="Default 20000.")
    given, runner = command.parse()
    from keras_sllmr.training.records import TrainingRecords

    records = TrainingRecords.create(
        given.to,
        given.store,
        given.scores,
        sets=given.sets,
        history=given.history,
        seed=given.seed,
        users_per_part=given.users_per_part,
        runner=runner,
    )
    return {"records": given.to, **records.manifest["counts"]}


if __name__ == "__main__":
    run_command(main)
