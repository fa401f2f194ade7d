"""What all tests share: no network, one thread per process, a cache of their own that outlives a session."""

from __future__ import annotations

import os
import signal
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
# Set before any library is imported: some read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HFRECIPES_CACHE"] = str(REPOSITORY / ".cache" / "tests")
os.environ.pop("HF_TOKEN", None)
# In the background, and under nohup, a shell has these ignored, and every process that a test starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
