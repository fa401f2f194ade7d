"""What a file that leaves this machine may name: Hub ids stay, paths of the machine become short names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
_LONGEST = 200
_RUNS = "runs"
_FILES = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".md", ".parquet", ".arrow", ".gz", ".zst", ".yaml", ".py")

# Folders at the root of a file system under which people keep their work. Paths such as /usr/lib say nothing about
# anyone, and code samples are full of them.
_ROOTS = (
    "home|Users|root|tmp|var|mnt|media|data|scratch|work|workspace|workspaces|content|kaggle|private|opt|srv|nfs|gpfs|"
    "lustre|fsx|cluster|projects?|storage|volumes?|run"
)
LOCAL_PATH = re.compile(
    r"file:///[^\s\"'`<>|,;]+"
    rf"|(?<![\w./~:-])/(?:{_ROOTS})/[^\s\"'`<>|,;:()\[\]{{}}]*"
    r"|(?<![\w/.~])~/[^\s\"'`<>|,;:()\[\]{}]+"
    r"|\b[A-Za-z]:\\(?:[^\s\"'`<>|,;]+)"
)


def is_hub_id(name: object) -> bool:
    """Whether a name can only mean a repository on the Hub: `owner/name` or `gpt2`, and no folder here answers to it.

    transformers looks for a folder first too, so a folder of that name is what a run would have read.
    """
    if not is_repo_id(name):
        return False
    return name.split("/")[0] != _RUNS and not name.endswith(_FILES) and not Path(name).exists()


def is_repo_id(name: object) -> bool:
    """Whether a name has the form of a Hub repository, `owner/name` or `name`, whatever lies in the working folder."""
    return (
        isinstance(name, str)
        and bool(_HUB_ID.fullmatch(name))
        and "--" not in name
        and ".." not in name
        and len(name) <= _LONGEST
    )


def run_name_of(path: str) -> str:
    """The run behind a path into its directory: `/x/runs/base/model` -> `base`; the last component elsewhere."""
    parts = [part for part in PurePosixPath(path.replace("\\", "/")).parts if part not in ("/", ".", "..")]
    while len(parts) > 1 and (parts[-1] in ("model", "checkpoints") or parts[-1].startswith("checkpoint-")):
        parts.pop()
    return parts[-1] if parts else path


def portable(text: str) -> str:
    """The text without paths of this machine: from `runs/` on where a path has it, else its last component."""
    return LOCAL_PATH.sub(lambda match: _short(match.group()), text)


def _short(path: str) -> str:
    parts = [part for part in re.split(r"[\\/]+", path.rstrip("/\\")) if part]
    if _RUNS in parts[:-1]:
        return "/".join(parts[parts.index(_RUNS) :])
    return parts[-1]


def portable_value(value: Any) -> Any:
    """`portable` for every string in a tree; one that is an absolute path as a whole is shortened wherever it points."""
    if isinstance(value, Mapping):
        return {str(key): portable_value(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable_value(entry) for entry in value]
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str):
        return value
    return _short(value) if _is_whole_path(value) else portable(value)


def _is_whole_path(text: str) -> bool:
    return bool(re.fullmatch(r"/[^\s/]+(?:/[^\n]*)?", text)) and " " not in text.split("/")[1]
