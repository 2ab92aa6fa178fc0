"""TFRecords of examples through an export, to TFRecords of scores.

python pipelines/batch_inference.py saved_models/shop/1 --examples examples/ \
    --to predictions/shop
"""

from typing import Any

from keras_sllmr.pipeline.command import PipelineCommand, run_command


def main() -> dict[str, Any]:
    """Scores examples."""
    command = PipelineCommand(__doc__)
    command.add("export", help="Folder of an exported version.")
    command.add("--examples", nargs="+", required=True, help="Files, or folders.")
    command.add("--to", required=True, help="Folder of the predictions.")
    command.add(
        "--keys",
        nargs="*",
        default=["user_id", "item_id"],
        help="Features to copy. Default user_id item_id.",
    )
    command.add("--batch", type=int, default=1024, help="Records. Default 1024.")
    given, runner = command.parse()
    from keras_sllmr.serving.batch_inference import predict_records

    scored = predict_records(
        given.export,
        given.examples,
        given.to,
        keys=given.keys,
        batch=given.batch,
        runner=runner,
    )
    return {"predictions": given.to, "records": scored}


if __name__ == "__main__":
    run_command(main)
