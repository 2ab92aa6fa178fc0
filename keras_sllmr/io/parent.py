"""Child processes that do not outlive the one that started them."""

import os
import sys
import threading
from collections.abc import Callable


def end_with_parent(end: Callable[[], None] = lambda: os._exit(1)) -> None:
    """Ends this process when standard input closes, as the starter's death does.

    Args:
        end: ends it. Defaults to leaving at once.
    """

    def wait() -> None:
        # Not through `sys.stdin`, whose lock would hold up this process's own end.
        while os.read(sys.stdin.fileno(), 1):
            pass
        end()

    threading.Thread(target=wait, daemon=True).start()
