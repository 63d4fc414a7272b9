"""How long a user waits before anything happens: `praxino --help`, and importing the package.

python benchmarks/startup.py [--json FILE]
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "python, nothing": [sys.executable, "-c", "pass"],
    "import praxino": [sys.executable, "-c", "import praxino"],
    "praxino --help": [sys.executable, "-m", "praxino", "--help"],
    "import torch": [sys.executable, "-c", "import torch"],
}
REPEATS = 7


def seconds(command: list[str]) -> float:
    """The fastest of several runs; the others only tell how busy the machine was."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = {name: seconds(command) for name, command in COMMANDS.items()}
    for name, value in found.items():
        print(f"{name:20s} {value:6.3f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
