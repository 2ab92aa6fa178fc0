"""Vocabularies in an export: tables from text to index, kept as text files."""

from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.compat import tf
from keras_sllmr.errors import DataError


def vocabulary_table(texts: np.ndarray, path: Path, kind: str) -> Any:
    """A table from text to index, 0 for unknown ones, read from a text file.

    Args:
        texts: str `[n + 1]`; entry 0 is "" and is left out.
        path: the file, one text a line. It must stay until the table has been saved.
        kind: str. What a text is, for the message.

    Raises:
        DataError: when a text holds a line break.
    """
    for text in texts[1:]:
        # TensorFlow's reader ends a line at \n and drops every \r.
        if "\n" in text or "\r" in text:
            raise DataError(
                f"An export keeps one {kind} a line, so it must not hold line breaks. "
                f"Received: {text!r}. Rename it in the imported data."
            )
    if len(texts) == 1:
        # TensorFlow cannot read an empty file.
        nothing = tf.lookup.KeyValueTensorInitializer([""], [0], value_dtype=tf.int64)
        return tf.lookup.StaticHashTable(nothing, default_value=0)
    path.write_bytes("".join(f"{text}\n" for text in texts[1:]).encode("utf-8"))
    initializer = tf.lookup.TextFileInitializer(
        str(path),
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
        value_index_offset=1,
    )
    return tf.lookup.StaticHashTable(initializer, default_value=0)
