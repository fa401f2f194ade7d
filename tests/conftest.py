"""What all tests share: no network, one thread per process, a cache of their own that outlives a session."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
# Set before any library is imported: some read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HFRECIPES_CACHE"] = str(REPOSITORY / ".cache" / "tests")
os.environ.pop("HF_TOKEN", None)
