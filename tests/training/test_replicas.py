import subprocess
import sys
from pathlib import Path


def test_two_replicas() -> None:
    """In a process of its own: two devices must be asked for before the first op."""
    program = Path(__file__).with_name("replica_checks.py")
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert len(done.stdout.splitlines()) == 6
