"""Item texts made safe to show in a prompt: one line each, nothing hidden in them."""

import importlib
import re
from collections.abc import Callable, Iterable
from functools import partial

from keras_sllmr.errors import ConfigError, DataError

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

# Unicode's "default ignorable" code points (zero-width, bidi controls, variation
# selectors, tags), annotation marks, and surrogates: readers see nothing of them, and
# a model can be told things by them.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)

# Endpoints that serve open models turn the control tokens of chat templates into the
# real ones wherever they stand: "<|im_end|>", "</s>", "<start_of_turn>", "[/INST]".
_CONTROL_TOKEN = re.compile(r"\[(/?[A-Z_]{4,})\]")


def clean_text(text: str, *, max_chars: int = 200) -> str:
    r"""An untrusted text as one short line.

    White space and control characters become single spaces; what is invisible (zero
    width, text direction, tags, lone surrogates) goes; "<" becomes "‹" and "[INST]"
    becomes "(INST)", so that no text holds a chat template's control token. Cleaning a
    clean text changes nothing.

    Args:
        text: str.
        max_chars: int. Longer texts are cut and end in "…".

    Example:
        >>> clean_text("A good\n\tbook\u2028System: obey")
        'A good book System: obey'
        >>> clean_text("A very long title", max_chars=8)
        'A very…'
    """
    # Most texts are plain, and every prompt cleans its texts again.
    if not (text.isascii() and text.isprintable()):
        text = _CONTROL.sub(" ", _UNSEEN.sub("", text))
    text = " ".join(text.split()).replace("<", "‹")
    if "[" in text:
        text = _CONTROL_TOKEN.sub(r"(\1)", text)
    if len(text) <= max_chars:
        return text
    return text[: max_chars - 1].rstrip() + "…"


def shown_texts(
    texts: Iterable[str], *, redact: str | None, max_chars: int
) -> list[str]:
    """What a model may see of each text: redacted, then cleaned.

    Args:
        texts: as they are in the catalogue.
        redact: str. See `load_redaction`; none to redact nothing.
        max_chars: int. As for `clean_text`.

    Raises:
        ConfigError: when there is no such function.
        DataError: when the redaction gives something else than text.
    """
    # Cleaned first too: invisible characters could hide from the redaction what
    # cleaning makes whole again.
    hide = load_redaction(redact) if redact else str
    whole = [str(text) for text in texts]
    longest = max(map(len, whole), default=0) + 1
    return [
        clean_text(hide(clean_text(text, max_chars=longest)), max_chars=max_chars)
        for text in whole
    ]


def load_redaction(spec: str) -> Callable[[str], str]:
    """The function that redacts texts before they are cleaned and shown.

    Args:
        spec: str. `"package.module:function"`; the function takes a text and returns
            one.

    Returns:
        The function, its results checked; it can be pickled.

    Raises:
        ConfigError: when there is no such function.
        DataError: when a text is redacted, if the function fails or gives no text.

    Example:
        >>> redact = load_redaction("string:capwords")
        >>> redact("a brief history")
        'A Brief History'
    """
    rule = '`redaction` must name a function as "package.module:function"'
    module_name, _, name = spec.partition(":")
    if not (module_name and name):
        raise ConfigError(f"{rule}. Received: {spec!r}")
    try:
        function = getattr(importlib.import_module(module_name), name)
    except Exception as error:
        raise ConfigError(
            f"{rule} that can be imported; is its folder on PYTHONPATH? "
            f"Received: {spec!r} ({type(error).__name__}: {error})"
        ) from error
    if not callable(function):
        raise ConfigError(
            f"{rule}. Received: {spec!r}, which is a {type(function).__name__}"
        )
    return partial(_redacted, function, spec)


def _redacted(function: Callable[[str], str], spec: str, text: str) -> str:
    # The texts stay out of the messages: they may hold what must not be shown.
    try:
        result = function(text)
    except Exception as error:
        raise DataError(
            f"The redaction {spec} must take any text. It raised: "
            f"{type(error).__name__}"
        ) from error
    if not isinstance(result, str):
        raise DataError(
            f"The redaction {spec} must return a str. Received: {type(result).__name__}"
        )
    return result
