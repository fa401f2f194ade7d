"""`hfrecipes doctor`: what is installed, what the machine has, and what will not work here and why."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from hfrecipes.recipe.hardware import Hardware

Status = Literal["ok", "note", "broken"]
_MARKS = {"ok": "✓", "note": "!", "broken": "✗"}
_EPILOG = """\
Nothing is imported that is merely looked at, and no token is ever shown. ✗ marks what is required and broken (the exit
status is 1 then), ! what works differently here than elsewhere.

  hfrecipes doctor
  hfrecipes doctor --json | jq '.[] | select(.status != "ok")'
"""
# Distributions whose module goes by another name.
_MODULES = {"pyyaml": "yaml"}
SMALLEST_FREE_BYTES = 20 * 2**30
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Args:
        group: What it belongs to.
        subject: What was looked at.
        status: Whether it is right, different here, or required and broken.
        found: What was found.
        fix: What to do about it; empty where nothing is to be done.
    """

    group: str
    subject: str
    status: Status
    found: str
    fix: str = ""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser(
        "doctor",
        help="versions, devices, kernels, tokens, and what will not work here",
        description="Look at the installation and the machine, and say what will not work here and why.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list of findings")
    parser.set_defaults(command=doctor)


def doctor(args: argparse.Namespace) -> int:
    """Prints all findings.

    Returns:
        1 where something required is broken, else 0.
    """
    findings = examine()
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False))
    else:
        print(format_findings(findings))
    return 1 if any(finding.status == "broken" for finding in findings) else 0


def examine() -> list[Finding]:
    """Everything that is looked at, in the order of the report."""
    from hfrecipes.recipe.hardware import detect_hardware

    hardware = detect_hardware()
    return [
        *version_findings(),
        *security_findings(),
        *device_findings(hardware),
        *kernel_findings(hardware),
        *hub_findings(),
        *storage_findings(),
    ]


def format_findings(findings: Iterable[Finding]) -> str:
    """The report as text: a heading for each group, a line for each finding, its mend behind it."""
    lines: list[str] = []
    group = ""
    for finding in findings:
        if finding.group != group:
            group = finding.group
            lines += ["", group] if lines else [group]
        fix = f" ({finding.fix})" if finding.fix else ""
        lines.append(f"  {_MARKS[finding.status]} {finding.subject}: {finding.found}{fix}")
    return "\n".join(lines)


def version_findings() -> Iterator[Finding]:
    """The running Python and every required package, against the ranges that hfrecipes was made for."""
    from importlib.metadata import metadata, requires

    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    yield _judged("python", _python_version(), SpecifierSet(metadata("hfrecipes")["Requires-Python"]), "install it")
    for text in requires("hfrecipes") or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield package_finding(requirement.name, requirement.specifier)


def package_finding(name: str, supported: object) -> Finding:
    """One required package: installed, importable, and of a version that is supported."""
    import importlib.util
    from importlib.metadata import PackageNotFoundError, version

    install = f'pip install -c constraints.txt "{name}{supported}"'
    try:
        found = version(name)
    except PackageNotFoundError:
        return Finding("versions", name, "broken", "is not installed", install)
    if importlib.util.find_spec(_MODULES.get(name.lower(), name.replace("-", "_"))) is None:
        fault = f"{found} is recorded as installed, and its files are missing"
        return Finding("versions", name, "broken", fault, f"pip install --force-reinstall {name}=={found}")
    return _judged(name, found, supported, install)


def _judged(name: str, found: str, supported: object, install: str) -> Finding:
    if supported.contains(found, prereleases=True):  # type: ignore[attr-defined]
        return Finding("versions", name, "ok", found)
    return Finding("versions", name, "broken", f"{found} is outside {supported}", install)


def security_findings() -> Iterator[Finding]:
    """Whether opening somebody else's files is safe with the installed versions."""
    from hfrecipes.check.security import installed_with_advisory, mend

    for advisory, found, is_open in installed_with_advisory():
        package, floor = advisory.package, advisory.mended
        if is_open:
            fault = f"{package} {found} can run code of a file it opens ({advisory.name})"
            yield Finding("security", advisory.name, "broken", fault, mend(advisory))
        else:
            yield Finding("security", advisory.name, "ok", f"mended in {package} {floor}; {found} is installed")


def device_findings(hardware: Hardware) -> Iterator[Finding]:
    """The devices, and what they cannot do."""
    import shutil
    from importlib.metadata import PackageNotFoundError, version

    count = f"{hardware.count} × " if hardware.count > 1 else ""
    memory = f"{hardware.memory_bytes / GIB:.0f} GiB" if hardware.memory_bytes else "memory unknown"
    yield Finding("devices", hardware.device, "ok", f"{count}{hardware.name}, {memory}")
    if hardware.device == "cuda":
        if not hardware.bf16:
            fix = "training.fp16=true is the half precision that it has"
            yield Finding("devices", "bf16", "note", "this GPU has no use for bfloat16; float32 is the default", fix)
        return
    try:
        cpu_build = version("torch").endswith("+cpu")
    except PackageNotFoundError:
        cpu_build = False
    if shutil.which("nvidia-smi") and cpu_build:
        fix = "install torch for your CUDA: pytorch.org/get-started/locally"
        yield Finding("devices", "cuda", "note", "nvidia-smi is here, and this torch is built without CUDA", fix)
    yield Finding(
        "devices", "sharding", "note", "no GPU: the launchers fsdp2, zero2, zero3 and multi-node have none to use"
    )
    yield Finding("devices", "precision", "note", f"bf16, fp16 and tf32 are refused on {_named(hardware)}: float32")


def _named(hardware: Hardware) -> str:
    return {"cpu": "a CPU", "mps": "Apple's GPU", "cuda": "this GPU"}[hardware.device]


def kernel_findings(hardware: Hardware) -> Iterator[Finding]:
    """Optional packages, the words that need them, and whether they could run here."""
    optional = (
        ("flash_attn", "flash-attn", "model.attn_implementation: flash_attention_2"),
        ("liger_kernel", "liger-kernel", "training.use_liger_kernel"),
        ("deepspeed", "deepspeed", "the launchers zero2 and zero3"),
    )
    for module, package, words in optional:
        yield _kernel_finding(hardware, module, package, words)
    if hardware.device == "mps":
        yield Finding("kernels", "bitsandbytes", "note", "does not quantize on Apple's GPU: no quantization: section")


def _kernel_finding(hardware: Hardware, module: str, package: str, words: str) -> Finding:
    import importlib.util
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version(package) if importlib.util.find_spec(module) else None
    except PackageNotFoundError:
        found = "installed"
    if hardware.device != "cuda" and module != "kernels":
        have = f"{found} is installed, and needs" if found else "needs"
        return Finding("kernels", package, "note", f"{have} an NVIDIA GPU: {words} cannot be used here")
    if found is None:
        fix = f"pip install {package}"
        return Finding("kernels", package, "note", f"not installed: {words} cannot be used", fix)
    if module == "flash_attn" and not hardware.flash_attention:
        return Finding(
            "kernels",
            package,
            "note",
            f"{found} is installed, and this GPU is older than Ampere: {words} cannot be used",
        )
    return Finding("kernels", package, "ok", found)


def hub_findings() -> Iterator[Finding]:
    """Whether the Hub may be asked, and as whom. A token is never shown, nor sent anywhere."""
    from huggingface_hub import constants, get_token

    if constants.is_offline_mode():
        found = "HF_HUB_OFFLINE is set: only what is in the cache can be had, and nothing can be published"
        yield Finding("hub", "network", "note", found, "unset it to reach the Hub")
    else:
        yield Finding("hub", "network", "ok", f"{constants.ENDPOINT} (not asked)")
    if get_token():
        yield Finding("hub", "token", "ok", "present (not shown)")
    else:
        found = "none: gated models (Llama, Gemma) and publishing need one"
        yield Finding("hub", "token", "note", found, "hf auth login, or HF_TOKEN in the environment")


def storage_findings() -> Iterator[Finding]:
    """Where things are kept, whether they can be written there, and how much room is left."""
    from pathlib import Path

    from huggingface_hub import constants

    from hfrecipes.recipe.schema import cache_folder

    yield folder_finding("HF_HOME", Path(constants.HF_HOME))
    yield folder_finding("cache", cache_folder())
    yield folder_finding("runs", Path("runs").absolute())


def folder_finding(subject: str, folder: object) -> Finding:
    """One folder, which need not exist yet."""
    import os
    import shutil
    from pathlib import Path

    path = Path(str(folder))
    existing = next(place for place in (path, *path.parents) if place.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        fix = "set HF_HOME or HFRECIPES_CACHE" if subject != "runs" else "work in another folder, or pass --runs-dir"
        return Finding("storage", subject, "broken", f"{path} cannot be written", fix)
    free = shutil.disk_usage(existing).free
    found = f"{path}, {free / GIB:.0f} GiB free"
    if free < SMALLEST_FREE_BYTES:
        fix = "a model of 1B parameters and its checkpoints take some 20 GiB"
        return Finding("storage", subject, "note", found, fix)
    return Finding("storage", subject, "ok", found)


def _python_version() -> str:
    return ".".join(str(part) for part in sys.version_info[:3])
