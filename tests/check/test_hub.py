"""What a Hub says, asked of one that runs here."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hfrecipes.check.hub import hub_file, hub_unreachable, repository_problems

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class SmallHub(BaseHTTPRequestHandler):
    """Has one model and one data set; `here/gated` is gated, `here/ill` fails, `here/asleep` does not answer."""

    def do_GET(self) -> None:
        known = {"/api/models/here/model", f"/api/models/here/model/revision/{COMMIT}", "/api/datasets/here/rows"}
        if self.path in known:
            self._answer(200, {"id": "here/model", "sha": COMMIT, "siblings": [], "tags": []})
        elif self.path.startswith("/api/models/here/model/revision/"):
            self._answer(404, {}, "RevisionNotFound")
        elif self.path.startswith("/api/models/here/gated"):
            self._answer(403, {}, "GatedRepo")
        elif self.path.startswith("/api/models/here/ill"):
            self._answer(500, {})
        elif self.path.startswith("/api/models/here/asleep"):
            time.sleep(1)
        else:
            self._answer(404, {}, "RepoNotFound")

    def _answer(self, status: int, body: dict, error: str | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        if error:
            self.send_header("X-Error-Code", error)
            self.send_header("X-Error-Message", error)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), SmallHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_what_exists_is_no_problem(hub: str) -> None:
    assert repository_problems("here/model", "model", None, "r.yaml:2", hub) == []
    assert repository_problems("here/model", "model", COMMIT, "r.yaml:2", hub) == []
    assert repository_problems("here/rows", "dataset", None, "r.yaml:2", hub) == []


@pytest.mark.parametrize(
    ("name", "revision", "fault"),
    [
        ("here/nothing", None, "there is no model here/nothing"),
        ("here/model", "old", "has no revision old"),
        ("here/gated", None, "is gated"),
        ("a b", None, "neither a folder nor a Hub id"),
    ],
)
def test_what_does_not_exist_is_an_error(hub: str, name: str, revision: str | None, fault: str) -> None:
    (problem,) = repository_problems(name, "model", revision, "r.yaml:2", hub)
    assert (problem.where, problem.severity) == ("r.yaml:2", "error")
    assert fault in problem.message
    assert problem.fix


def test_a_hub_that_fails_leaves_it_unchecked(hub: str) -> None:
    (problem,) = repository_problems("here/ill", "model", None, "r.yaml:2", hub)
    assert problem.severity == "unchecked"
    assert "500" in problem.message


def test_a_hub_that_sleeps_is_left_alone(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hfrecipes.check.hub.TIMEOUT_SECONDS", 0.2)
    (problem,) = repository_problems("here/asleep", "model", None, "r.yaml:2", hub)
    assert problem.severity == "unchecked"


def test_a_hub_that_is_not_there_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    start = time.monotonic()
    (problem,) = repository_problems("here/model", "model", None, "r.yaml:2", endpoint)
    assert time.monotonic() - start < 5
    assert problem.severity == "unchecked"
    assert "127.0.0.1 does not answer" in problem.message


def test_offline_is_said_and_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert hub_unreachable() == "HF_HUB_OFFLINE is set"
    assert hub_file("here/model-that-is-not-cached", "config.json", None) is None


def test_the_libraries_do_not_ask_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    from hfrecipes.check.hub import stay_offline
    from hfrecipes.recipe.loader import check_words

    # A port that nothing listens on: the connection is refused at once.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    values = {
        "kind": "pretrain",
        "training": {},
        "model": {"config": {"model_type": "llama"}, "tokenizer": {"vocab_size": 400}},
    }
    embedded = {"data": {"train": [{"name": "python_code"}, {"path": "x.txt"}]}}
    stay_offline(check_words({**values, **embedded}, tmp_path / "my.yaml"))
    assert not constants.is_offline_mode()
    stay_offline(check_words({**values, "data": {"train": [{"name": "a/b"}]}}, tmp_path / "my.yaml"))
    assert constants.is_offline_mode()
