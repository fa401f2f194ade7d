"""`hfrecipes doctor` on machines that it is not run on: each fault is made, and has to be found."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from hfrecipes.check.security import security_problems
from hfrecipes.cli import doctor, main
from hfrecipes.recipe.hardware import Hardware

CPU = Hardware("cpu", "a processor", 1, 8 * 2**30, False, False)
TURING = Hardware("cuda", "Tesla T4", 2, 15 * 2**30, False, False)
AMPERE = Hardware("cuda", "NVIDIA A100", 8, 80 * 2**30, True, True)


def by_subject(findings: Any) -> dict[str, doctor.Finding]:
    return {finding.subject: finding for finding in findings}


def pretend_versions(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """As if other versions were installed; None for not at all. Names are written with underscores."""
    real = importlib.metadata.version

    def version(name: str) -> str:
        key = name.replace("-", "_")
        if key not in versions:
            return real(name)
        if versions[key] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[key]

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_this_environment_is_whole() -> None:
    findings = by_subject(doctor.version_findings())
    assert {"python", "torch", "transformers", "trl", "peft", "datasets", "accelerate"} <= set(findings)
    assert {"bitsandbytes", "evaluate", "huggingface-hub"} <= {name.replace("_", "-") for name in findings}
    assert {finding.status for finding in findings.values()} == {"ok"}
    assert "pytest" not in findings and "deepspeed" not in findings, "extras are not required"


@pytest.mark.parametrize(
    ("found", "status"), [("5.20.1", "ok"), ("4.57.0", "broken"), ("6.0.0", "broken"), (None, "broken")]
)
def test_a_version_outside_its_range_is_found(monkeypatch: pytest.MonkeyPatch, found: str | None, status: str) -> None:
    pretend_versions(monkeypatch, transformers=found)
    finding = doctor.package_finding("transformers", SpecifierSet(">=5.20,<6"))
    assert finding.status == status
    assert (finding.fix != "") == (status == "broken")


def test_files_that_are_gone_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "peft" else real(name))
    finding = doctor.package_finding("peft", SpecifierSet(">=0.20"))
    assert finding.status == "broken" and "missing" in finding.found and "--force-reinstall" in finding.fix


def test_local_builds_count_as_their_version(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_versions(monkeypatch, torch="2.7.0+cu128")
    assert doctor.package_finding("torch", SpecifierSet(">=2.6,<3")).status == "ok"


def test_versions_that_run_foreign_code_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_versions(monkeypatch, transformers="5.2.0", torch="2.6.0")
    findings = by_subject(doctor.security_findings())
    assert findings["CVE-2026-4372"].status == "broken" and "5.3" in findings["CVE-2026-4372"].fix
    assert findings["CVE-2026-1839"].status == "ok"


def test_a_run_is_refused_with_such_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert security_problems() == []
    pretend_versions(monkeypatch, transformers="5.3.0rc1", torch="2.5.1+cu124")
    first, second = security_problems()
    assert (first.where, first.severity, first.fix) == (
        "transformers 5.3.0rc1",
        "error",
        'pip install "transformers>=5.3"',
    )
    assert second.where == "torch 2.5.1+cu124" and "CVE-2026-1839" in second.message
    pretend_versions(monkeypatch, transformers="5.3.0", torch=None)
    assert security_problems() == []


def test_a_cpu_build_beside_a_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_versions(monkeypatch, torch="2.13.0+cpu")
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert "without CUDA" in by_subject(doctor.device_findings(CPU))["cuda"].found
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "cuda" not in by_subject(doctor.device_findings(CPU))


def test_devices_say_what_they_cannot_do() -> None:
    assert {"cpu", "sharding", "precision"} == set(by_subject(doctor.device_findings(CPU))) - {"cuda"}
    turing = by_subject(doctor.device_findings(TURING))
    assert turing["cuda"].found == "2 × Tesla T4, 15 GiB"
    assert turing["bf16"].status == "note"
    assert set(by_subject(doctor.device_findings(AMPERE))) == {"cuda"}


def test_kernels_are_judged_by_device_and_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"flash_attn", "liger_kernel"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace() if name in installed else None)
    pretend_versions(monkeypatch, flash_attn="2.8.3", liger_kernel="0.6.0", deepspeed=None, kernels=None)
    on_ampere = by_subject(doctor.kernel_findings(AMPERE))
    assert (on_ampere["flash-attn"].status, on_ampere["flash-attn"].found) == ("ok", "2.8.3")
    assert on_ampere["deepspeed"].fix == "pip install deepspeed"
    assert "older than Ampere" in by_subject(doctor.kernel_findings(TURING))["flash-attn"].found
    assert "needs an NVIDIA GPU" in by_subject(doctor.kernel_findings(CPU))["liger-kernel"].found


def test_a_token_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecretsecret")
    findings = list(doctor.hub_findings())
    assert by_subject(findings)["token"].status == "ok"
    assert "secret" not in doctor.format_findings(findings)


def test_a_folder_that_cannot_be_written_is_broken(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    assert doctor.folder_finding("cache", file / "below").status == "broken"
    assert doctor.folder_finding("cache", tmp_path / "not" / "yet").status in ("ok", "note")
    assert not (tmp_path / "not").exists()


def test_little_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**30))
    finding = doctor.folder_finding("runs", tmp_path)
    assert finding.status == "note" and "1 GiB free" in finding.found


def test_something_broken_is_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend_versions(monkeypatch, trl="0.9.0")
    assert main.main(["doctor"]) == 1
    (line,) = [text for text in capsys.readouterr().out.splitlines() if "✗" in text]
    assert "trl: 0.9.0 is outside" in line and "pip install" in line


def test_json_has_every_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["doctor", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert {finding["group"] for finding in findings} >= {
        "versions",
        "security",
        "devices",
        "kernels",
        "hub",
        "storage",
    }
    assert all(set(finding) == {"group", "subject", "status", "found", "fix"} for finding in findings)


def test_it_imports_nothing_that_it_looks_at() -> None:
    code = (
        "import sys; from hfrecipes.cli import main; status = main.main(['doctor']);"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'datasets', 'accelerate', 'bitsandbytes'} & set(sys.modules);"
        "print(sorted(heavy), file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "[]\n")
