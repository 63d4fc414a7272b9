"""Half the time damaged videos, half the time inputs that hypothesis makes up: `make fuzz`.

python -m fuzz --minutes 10 [--first-seed N]
"""

import argparse
import sys
import time
from pathlib import Path

from fuzz import inputs, probe


def main() -> int:
    """Fuzz with seeds that were not tried before, unless told one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--first-seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", type=Path, default=Path("finds"), help="where finds are kept")
    options = parser.parse_args()
    print(f"first seed {options.first_seed}", flush=True)
    arguments = ["--minutes", str(options.minutes / 2), "--first-seed", str(options.first_seed)]
    arguments += ["--keep", str(options.keep)]
    found = probe.main(arguments)
    found |= inputs.main(arguments)
    return found


if __name__ == "__main__":
    sys.exit(main())
