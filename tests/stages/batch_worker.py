"""One of the processes that `accelerate launch` starts, which runs command lines one after the other.

    accelerate launch --multi_gpu --num_processes 2 batch_worker.py SCENES.json

Each scene says the arguments of `accelerate launch -m hfrecipes`, the number of processes (the first so many of those launched)
and a port. A scene is run in a fork, so that the libraries are imported once; all processes wait until one has ended.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch.distributed as dist

from hfrecipes.__main__ import work
from hfrecipes.stages import session  # noqa: F401 - imported before the forks
from hfrecipes.stages.processes import leave_group

PATIENCE = 240.0


def play(scene: dict[str, Any]) -> int:
    os.environ["MASTER_PORT"] = str(scene["port"])
    # The launcher's own store keeps the addresses of processes that are gone.
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        os.environ[name] = str(scene["world_size"])
    sys.argv = ["hfrecipes", *scene["arguments"]]
    status = work()
    assert not dist.is_initialized() or scene["world_size"] > 1
    leave_group(status)
    return status


def main() -> None:
    rank = int(os.environ["RANK"])
    for number, scene in enumerate(json.loads(Path(sys.argv[1]).read_text())):
        if rank < scene["world_size"]:
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    status = play(scene)
                except BaseException:
                    traceback.print_exc()
                os._exit(status)
            _, status = os.waitpid(child, 0)
            Path(f"ended-{number}-{rank}").write_text(str(status))
        wait_for([Path(f"ended-{number}-{other}") for other in range(scene["world_size"])])


def wait_for(files: list[Path]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not all(file.exists() for file in files):
        assert time.monotonic() < deadline, f"waited in vain for {files}"
        time.sleep(0.02)


if __name__ == "__main__":
    main()
