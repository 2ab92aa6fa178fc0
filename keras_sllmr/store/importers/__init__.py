"""One importer a format; each reads source files into `RawData`."""

from collections.abc import Callable, Mapping

from keras_sllmr.store.importers.amazon import read_amazon
from keras_sllmr.store.importers.movielens import read_movielens
from keras_sllmr.store.importers.steam import read_steam
from keras_sllmr.store.importers.tables import read_tables
from keras_sllmr.store.raw import RawData

IMPORTERS: Mapping[str, Callable[..., RawData]] = {
    "tables": read_tables,
    "amazon": read_amazon,
    "movielens": read_movielens,
    "steam": read_steam,
}

__all__ = ["IMPORTERS", "read_amazon", "read_movielens", "read_steam", "read_tables"]
