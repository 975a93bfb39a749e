"""List the benchmarks, or run one: `python -m benchmarks NAME [options]`."""

import sys
from pathlib import Path

from experiments import _listing

if __name__ == "__main__":
    sys.exit(_listing.main(Path(__file__).parent))
