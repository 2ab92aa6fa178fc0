import sys
from pathlib import Path

# Benchmarks are scripts that import one another by their file's name.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
