"""`python -m hfrecipes RECIPE …` in one of several processes that FSDP2 divides the model over, on a CPU."""

from __future__ import annotations

import sys

from hfrecipes.__main__ import main
from tests.trainers.sharded import shard_on_cpus

if __name__ == "__main__":
    shard_on_cpus()
    sys.exit(main())
