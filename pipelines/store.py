"""Tables of events, items and users to a feature store.

python pipelines/store.py --interactions events/ --items items.parquet --to stores/shop
"""

from typing import Any

from keras_sllmr.pipeline.command import PipelineCommand, run_command


def main() -> dict[str, Any]:
    """Builds a store."""
    command = PipelineCommand(__doc__)
    command.add("--interactions", nargs="+", required=True, help="Files, or a folder.")
    command.add("--items", nargs="+", help="Files, or a folder. Defaults to none.")
    command.add("--users", nargs="+", help="Files, or a folder. Defaults to none.")
    command.add("--to", required=True, help="Folder of the store.")
    command.add(
        "--options",
        help="YAML file of what else `sllmr import` can be told of tables, e.g. "
        "`order: time` or `item_columns: {price: numeric}`.",
    )
    command.add("--rows-per-part", type=int, default=1_000_000, help="Default 1000000.")
    given, runner = command.parse()
    from keras_sllmr.settings import read_mapping
    from keras_sllmr.store.build import build_store
    from keras_sllmr.store.importers.table_format import table_options

    options = read_mapping(given.options, what="options") if given.options else {}
    build_store(
        given.to,
        given.interactions,
        given.items,
        given.users,
        **table_options(options),
        rows_per_part=given.rows_per_part,
        runner=runner,
    )
    return {"store": given.to}


if __name__ == "__main__":
    run_command(main)
