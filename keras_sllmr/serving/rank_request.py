"""A request to rank, as arrays: padded, with every input that the signature takes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_sllmr.errors import ConfigError
from keras_sllmr.serving.served_model import Signature, TensorInfo

#: What pads rows to one length, and what is unknown, by type.
PADDING: dict[str, Any] = {"string": "", "int32": 0, "float32": float("nan")}
_ARRAYS: dict[str, Any] = {"string": object, "int32": np.int32, "float32": np.float32}
_KINDS: dict[str, Any] = {
    "string": str,
    "int32": (int, np.integer),
    "float32": (int, float, np.number),
}


def rank_request(
    signature: Signature,
    histories: Sequence[Sequence[Any]],
    candidates: Sequence[Sequence[Any]],
    k: int,
    user_ids: Sequence[str] | None,
    columns: Mapping[str, Sequence[Any]],
    widths: Mapping[str, int],
) -> dict[str, np.ndarray]:
    """The inputs of `rank` or `rank_dense`, one row a user.

    Args:
        signature: what the model takes.
        histories: each user's items, oldest first.
        candidates: each user's candidates.
        k: int ≥ 1. How many of each user to return at most.
        user_ids: each user's id. Defaults to unknown.
        columns: by name, a cell of each user; those left out are unknown.
        widths: by input, how wide it is to be sent. Other ones are as wide as their
            longest row.

    Returns:
        An array an input: float32, int32 or objects that are str.

    Raises:
        ConfigError: when arguments do not fit the signature or one another.
    """
    if not isinstance(k, int | np.integer) or not 1 <= k < 2**31:
        raise ConfigError(f"`k` must be an int of at least 1. Received: k={k!r}")
    users = len(candidates)
    given: dict[str, Sequence[Any]] = {
        "candidates": candidates,
        "history": histories,
        "k": [k] * users,
    }
    # An unknown user is one whose id is "": models without a user field take no ids.
    if "user_id" in signature.inputs:
        given["user_id"] = [""] * users if user_ids is None else user_ids
    elif user_ids is not None and len(user_ids) != users:
        raise _not_one_each("user_ids", len(user_ids), users)
    readable = sorted(set(signature.inputs) - set(given))
    unknown = sorted(set(columns) - set(readable))
    if unknown:
        raise ConfigError(
            "`columns` must be among those of users and context that the model reads, "
            f"{', '.join(readable) or 'but it reads none'}. Received: "
            f"{', '.join(unknown)}"
        )
    given |= columns
    odd = sorted(name for name in widths if _rank(signature, name) != 2)
    if odd:
        lists = [name for name in signature.inputs if _rank(signature, name) == 2]
        raise ConfigError(
            f"`widths` must be of inputs that are lists, {', '.join(lists)}. "
            f"Received: {', '.join(odd)}"
        )
    inputs = {}
    for name, info in signature.inputs.items():
        empty = [] if len(info.shape) == 2 else PADDING.get(info.dtype)
        cells = given.get(name, [empty] * users)
        if isinstance(cells, str) or len(cells) != users:
            raise _not_one_each(
                name, 1 if isinstance(cells, str) else len(cells), users
            )
        inputs[name] = _array(name, info, cells, widths.get(name))
    return inputs


def _rank(signature: Signature, name: str) -> int:
    return len(signature.inputs[name].shape) if name in signature.inputs else 0


def _not_one_each(name: str, count: int, users: int) -> ConfigError:
    return ConfigError(
        f"There must be one of {name!r} for each of the {users} users that have "
        f"candidates. Received: {count}"
    )


def _array(
    name: str, info: TensorInfo, cells: Sequence[Any], width: int | None
) -> np.ndarray:
    if info.dtype not in _KINDS or len(info.shape) not in (1, 2):
        raise ConfigError(
            f"The model's input {name!r} is {info.dtype} of rank {len(info.shape)}: "
            "this client cannot fill it. Update keras_sllmr, or export the model anew."
        )
    rows, wide = [[cell] for cell in cells], 1
    if len(info.shape) == 2:
        rows = [_list(name, info.dtype, cell) for cell in cells]
        wide = max(map(len, rows), default=0)
        if width is not None and wide > width:
            if name != "history":
                raise ConfigError(
                    f"`widths` says that {name!r} has at most {width} values a row. "
                    f"Received: {wide}. Raise it, or send fewer."
                )
            rows = [row[max(0, len(row) - width) :] for row in rows]  # the newest
        wide = wide if width is None else width
    array = np.full((len(rows), wide), PADDING[info.dtype], _ARRAYS[info.dtype])
    for at, row in enumerate(rows):
        _check(name, info, row)
        array[at, : len(row)] = row
    return array if len(info.shape) == 2 else array[:, 0]


def _list(name: str, dtype: str, cell: Any) -> list[Any]:
    if isinstance(cell, str | bytes) or not hasattr(cell, "__iter__"):
        raise _wrong_cell(name, f"a list of {_word(dtype)}", cell)
    return list(cell)


def _check(name: str, info: TensorInfo, row: list[Any]) -> None:
    for cell in row:
        if not isinstance(cell, _KINDS[info.dtype]):
            raise _wrong_cell(name, _word(info.dtype), cell)
    if info.dtype == "string":
        try:
            "".join(row).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"Text must be valid Unicode. Received, in {name!r}: {error}"
            ) from error
    if info.dtype == "int32" and not all(0 <= cell < 2**31 for cell in row):
        raise ConfigError(
            f"{name!r} must hold indices of the store, from 1, or 0 for unknown. "
            f"Received: {min(row)} to {max(row)}"
        )


def _word(dtype: str) -> str:
    return {"string": "str", "int32": "int", "float32": "number"}[dtype]


def _wrong_cell(name: str, expected: str, cell: Any) -> ConfigError:
    return ConfigError(f"{name!r} must be {expected}. Received: {cell!r:.200}")
