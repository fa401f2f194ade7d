"""A stand-in for the Hub: enough of its protocol for unmodified clients to push, list and pull, on one machine.

    python tests/standin_hub.py --port 0 --root DIR

prints its URL; clients reach it with HF_ENDPOINT=URL, HF_TOKEN=<TOKEN below> and HF_HUB_DISABLE_XET=1. Content is kept
by SHA-256 under DIR/objects and checked on arrival; repositories are DIR/repos/<type>/<owner>/<name>.json, which tests
read to see what was really committed, and DIR/received holds all that was sent, but for the header that signs it.
`POST /standin/fail {"path": "/lfs/", "status": 507, "times": 1}` makes the next requests whose path contains the words
fail: with that status, or with `"how"` as one of

    cut      the connection breaks after `"after"` bytes of the request have been read
    silent   no answer comes, until the client leaves
    lost     what was asked is done, and the connection breaks before the answer

`POST /standin/heal` ends all that.
`POST /standin/public {"type": "model", "repo_id": "ada/x"}` makes a repository public.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

USER = "ada"
# In the form of a real token, so that a test sees whether it is ever written anywhere.
TOKEN = "hf_" + "Standin" * 5
READ_ONLY_TOKEN = "hf_" + "Onlyread" * 5
FINE_TOKEN = "hf_" + "Finegrain" * 4
FINE_REPO = f"{USER}/one-of-hers"
# By organisation, what its member may do there.
ORGANISATIONS = {"guild": "contributor", "library": "read"}
# In the shape in which `whoami-v2` tells of tokens.
ACCESS = {
    TOKEN: {"role": "write"},
    READ_ONLY_TOKEN: {"role": "read"},
    FINE_TOKEN: {
        "role": "fineGrained",
        "fineGrained": {
            "global": [],
            "scoped": [
                {"entity": {"type": "user", "name": USER}, "permissions": ["repo.content.read"]},
                {"entity": {"type": "model", "name": FINE_REPO}, "permissions": ["repo.content.read", "repo.write"]},
            ],
        },
    },
}
MAIN = "main"
LARGE = (".safetensors", ".bin", ".parquet", ".arrow")
LARGE_BYTES = 10 * 2**20


class HubError(Exception):
    """A refusal, as the client expects it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Store:
    """Contents by hash and repositories by name, both on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "objects").mkdir(parents=True, exist_ok=True)

    def put(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        self.object(sha256).write_bytes(content)
        return sha256

    def object(self, sha256: str) -> Path:
        return self.root / "objects" / sha256

    def repo_file(self, kind: str, repo_id: str) -> Path:
        return self.root / "repos" / kind / f"{repo_id}.json"

    def load(self, kind: str, repo_id: str) -> dict[str, Any]:
        path = self.repo_file(kind, repo_id)
        if not path.is_file():
            raise HubError(404, "RepoNotFound", f"{repo_id} does not exist")
        return json.loads(path.read_text())

    def save(self, kind: str, repo_id: str, repo: dict[str, Any]) -> None:
        path = self.repo_file(kind, repo_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(repo, indent=1))

    def commit(self, repo: dict[str, Any], branch: str, files: dict[str, Any], summary: str) -> str:
        parent = repo["branches"].get(branch)
        text = json.dumps([parent, files, summary, len(repo["commits"])], sort_keys=True)
        sha = hashlib.sha1(text.encode()).hexdigest()
        repo["commits"][sha] = {"parent": parent, "summary": summary, "files": files, "time": _now()}
        repo["branches"][branch] = sha
        return sha


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _find(repo: dict[str, Any], revision: str) -> str:
    sha = repo["branches"].get(revision, revision)
    if sha not in repo["commits"]:
        raise HubError(404, "RevisionNotFound", f"{revision} is no branch and no commit")
    return sha


def _entry(content: bytes, sha256: str, large: bool) -> dict[str, Any]:
    git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return {"sha256": sha256, "oid": git, "size": len(content), "lfs": large}


def _where(request: Request) -> tuple[str, str]:
    """Type and full name of the repository of a request."""
    kind = request.path_params.get("kind", "models").removesuffix("s")
    return kind, f"{request.path_params['owner']}/{request.path_params['name']}"


def _signed_in(request: Request, write: bool = True, repo_id: str | None = None) -> dict[str, Any]:
    """What the token of a request may do. Without `repo_id`, the repository is that of the request's path."""
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    access = request.app.state.access.get(token)
    if access is None:
        raise HubError(401, "InvalidToken", "Invalid credentials in Authorization header")
    if write and not _may_write(access, repo_id or _where(request)[1]):
        raise HubError(403, "Forbidden", "no right to write here")
    return access


def _may_write(access: dict[str, Any], repo_id: str) -> bool:
    owner = repo_id.partition("/")[0]
    if access["role"] == "fineGrained":
        named = [scope for scope in access["fineGrained"]["scoped"] if scope["entity"]["name"] in (owner, repo_id)]
        return any("repo.write" in scope["permissions"] for scope in named)
    return access["role"] == "write" and (owner == USER or ORGANISATIONS.get(owner) in ("write", "contributor"))


async def whoami(request: Request) -> Response:
    access = _signed_in(request, write=False)
    organisations = [{"type": "org", "name": name, "roleInOrg": role} for name, role in ORGANISATIONS.items()]
    auth = {"type": "access_token", "accessToken": {"displayName": "a test's", **access}}
    return JSONResponse({"type": "user", "name": USER, "orgs": organisations, "auth": auth})


async def create_repo(request: Request) -> Response:
    body = await request.json()
    owner = body.get("organization") or USER
    _signed_in(request, repo_id=f"{owner}/{body['name']}")
    store, kind, repo_id = request.app.state.store, body.get("type", "model"), f"{owner}/{body['name']}"
    if store.repo_file(kind, repo_id).is_file():
        raise HubError(409, "RepoExists", "You already created this repo")
    repo = {"private": body.get("visibility") == "private" or bool(body.get("private")), "branches": {}, "commits": {}}
    attributes = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
    files = {".gitattributes": _entry(attributes, store.put(attributes), large=False)}
    store.commit(repo, MAIN, files, "initial commit")
    store.save(kind, repo_id, repo)
    return JSONResponse({"url": f"{request.base_url}{repo_id}", "name": repo_id, "id": repo_id})


async def create_branch(request: Request) -> Response:
    _signed_in(request)
    kind, repo_id = _where(request)
    repo, branch = request.app.state.store.load(kind, repo_id), request.path_params["branch"]
    if branch in repo["branches"]:
        raise HubError(409, "BranchExists", f"{branch} exists")
    repo["branches"][branch] = repo["branches"][MAIN]
    request.app.state.store.save(kind, repo_id, repo)
    return JSONResponse({})


async def repo_info(request: Request) -> Response:
    kind, repo_id = _where(request)
    repo = request.app.state.store.load(kind, repo_id)
    if repo["private"]:
        _signed_in(request, write=False)
    sha = _find(repo, request.path_params.get("revision", MAIN))
    commit = repo["commits"][sha]
    siblings = [{"rfilename": path} for path in commit["files"]]
    return JSONResponse(
        {
            "id": repo_id,
            "sha": sha,
            "private": repo["private"],
            "siblings": siblings,
            "tags": [],
            "lastModified": commit["time"],
        }
    )


async def tree(request: Request) -> Response:
    kind, repo_id = _where(request)
    repo = request.app.state.store.load(kind, repo_id)
    files = repo["commits"][_find(repo, request.path_params["revision"])]["files"]
    return JSONResponse([_tree_entry(path, entry) for path, entry in sorted(files.items())])


def _tree_entry(path: str, entry: dict[str, Any]) -> dict[str, Any]:
    listed = {"type": "file", "path": path, "size": entry["size"], "oid": entry["oid"]}
    return listed | (
        {"lfs": {"oid": entry["sha256"], "size": entry["size"], "pointerSize": 130}} if entry["lfs"] else {}
    )


async def preupload(request: Request) -> Response:
    _signed_in(request)
    asked = (await request.json())["files"]
    modes = ["lfs" if f["path"].endswith(LARGE) or f["size"] > LARGE_BYTES else "regular" for f in asked]
    files = [{"path": f["path"], "uploadMode": m, "shouldIgnore": False} for f, m in zip(asked, modes, strict=True)]
    return JSONResponse({"files": files})


async def lfs_batch(request: Request) -> Response:
    _signed_in(request)
    store, objects = request.app.state.store, []
    for wanted in (await request.json())["objects"]:
        known = store.object(wanted["oid"]).is_file()
        action = {"upload": {"href": f"{request.base_url}lfs/{wanted['oid']}"}}
        objects.append({**wanted, **({} if known else {"actions": action})})
    return JSONResponse({"transfer": "basic", "objects": objects})


async def lfs_put(request: Request) -> Response:
    content, oid = await request.body(), request.path_params["oid"]
    if hashlib.sha256(content).hexdigest() != oid:
        raise HubError(422, "HashMismatch", f"the content is not {oid}")
    request.app.state.store.put(content)
    return Response(status_code=200)


async def commit(request: Request) -> Response:
    _signed_in(request)
    kind, repo_id = _where(request)
    store, branch = request.app.state.store, request.path_params["revision"]
    repo = store.load(kind, repo_id)
    head = _find(repo, branch)
    header, *operations = [json.loads(line) for line in (await request.body()).splitlines() if line]
    if header["value"].get("parentCommit", head) != head:
        raise HubError(412, "ParentCommitMismatch", "A commit has happened since. Please refresh and try again.")
    files = dict(repo["commits"][head]["files"])
    for operation in operations:
        _apply(store, files, operation["key"], operation["value"])
    sha = store.commit(repo, branch, files, header["value"]["summary"])
    store.save(kind, repo_id, repo)
    url = f"{request.base_url}{repo_id}/commit/{sha}"
    return JSONResponse({"success": True, "commitOid": sha, "commitUrl": url})


def _apply(store: Store, files: dict[str, Any], key: str, value: dict[str, Any]) -> None:
    if key == "file":
        content = base64.b64decode(value["content"])
        files[value["path"]] = _entry(content, store.put(content), large=False)
    elif key == "lfsFile":
        if not store.object(value["oid"]).is_file():
            raise HubError(422, "MissingObject", f"{value['path']} was never uploaded")
        files[value["path"]] = _entry(store.object(value["oid"]).read_bytes(), value["oid"], large=True)
    elif key == "deletedFile":
        del files[value["path"]]
    elif key == "deletedFolder":
        for path in [path for path in files if path.startswith(value["path"].rstrip("/") + "/")]:
            del files[path]
    else:
        raise HubError(400, "BadRequest", f"unknown operation {key}")


async def resolve(request: Request) -> Response:
    kind, repo_id = _where(request)
    store, path = request.app.state.store, request.path_params["path"]
    repo = store.load(kind, repo_id)
    if repo["private"]:
        _signed_in(request, write=False)
    sha = _find(repo, request.path_params["revision"])
    entry = repo["commits"][sha]["files"].get(path)
    if entry is None:
        error = {"X-Error-Code": "EntryNotFound", "X-Error-Message": f"{path} not found", "X-Repo-Commit": sha}
        return Response(status_code=404, headers=error)
    etag = entry["sha256"] if entry["lfs"] else entry["oid"]
    headers = {"X-Repo-Commit": sha, "ETag": f'"{etag}"', "X-Linked-Size": str(entry["size"]), "Accept-Ranges": "bytes"}
    if entry["lfs"]:
        headers["X-Linked-Etag"] = f'"{etag}"'
    content = store.object(entry["sha256"]).read_bytes()
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(len(content))})
    return Response(content, headers=headers, media_type="application/octet-stream")


async def validate_yaml(request: Request) -> Response:
    return JSONResponse({"errors": [], "warnings": []})


async def agent_harnesses(request: Request) -> Response:
    return JSONResponse({"standardEnvVars": [], "harnesses": {}})


async def delete_repo(request: Request) -> Response:
    body = await request.json()
    repo_id = f"{body.get('organization') or USER}/{body['name']}"
    _signed_in(request, repo_id=repo_id)
    request.app.state.store.repo_file(body.get("type", "model"), repo_id).unlink(missing_ok=True)
    return JSONResponse({})


async def fail(request: Request) -> Response:
    request.app.state.failures.append(await request.json())
    return JSONResponse({})


async def heal(request: Request) -> Response:
    request.app.state.failures.clear()
    return JSONResponse({})


async def make_public(request: Request) -> Response:
    body, store = await request.json(), request.app.state.store
    repo = store.load(body["type"], body["repo_id"])
    store.save(body["type"], body["repo_id"], repo | {"private": False})
    return JSONResponse({})


class Doorkeeper:
    """Writes down what arrives, and fails where a test has asked for it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/standin/"):
            await self.app(scope, receive, send)
            return
        received = bytearray(_head(scope))

        async def note() -> Message:
            message = await receive()
            received.extend(message.get("body", b""))
            return message

        try:
            failure = self._failure(scope)
            await (self._fail(failure, scope, note, send, receive) if failure else self.app(scope, note, send))
        finally:
            with (scope["app"].state.store.root / "received").open("ab") as file:
                file.write(received + b"\n")

    def _failure(self, scope: Scope) -> dict[str, Any] | None:
        for failure in scope["app"].state.failures:
            if failure["path"] in scope["path"] and failure.get("times", 1) > 0:
                failure["times"] = failure.get("times", 1) - 1
                return failure
        return None

    async def _fail(self, failure: dict[str, Any], scope: Scope, note: Receive, send: Send, receive: Receive) -> None:
        how = failure.get("how", "status")
        if how == "status":
            await JSONResponse({"error": "asked to fail"}, status_code=failure["status"])(scope, note, send)
        elif how == "silent":
            while (await note())["type"] != "http.disconnect":
                pass
        elif how == "lost":
            await self.app(scope, note, _nobody)
            _cut(receive)
        else:
            read = 0
            while read < failure["after"]:
                message = await note()
                read += len(message.get("body", b""))
                if not message.get("more_body"):
                    break
            _cut(receive)


def _head(scope: Scope) -> bytes:
    headers = [name + b": " + value for name, value in scope["headers"] if name != b"authorization"]
    return b"\n".join([scope["method"].encode(), scope["raw_path"], scope["query_string"], *headers, b""])


async def _nobody(message: Message) -> None:
    """Where an answer goes that is lost."""


def _cut(receive: Receive) -> None:
    """Breaks the connection under a request: uvicorn hands out the method of an object that holds it."""
    receive.__self__.transport.abort()


async def refused(request: Request, error: Exception) -> Response:
    headers = {"X-Error-Code": error.code, "X-Error-Message": str(error)}
    return JSONResponse({"error": str(error)}, status_code=error.status, headers=headers)


def make_app(root: Path, token: str = TOKEN) -> Starlette:
    api, repo = "/api/{kind:str}", "/{owner}/{name}"
    routes = [
        Route("/standin/fail", fail, methods=["POST"]),
        Route("/standin/heal", heal, methods=["POST"]),
        Route("/standin/public", make_public, methods=["POST"]),
        Route("/api/whoami-v2", whoami),
        Route("/api/validate-yaml", validate_yaml, methods=["POST"]),
        Route("/api/agent-harnesses", agent_harnesses),
        Route("/api/repos/create", create_repo, methods=["POST"]),
        Route("/api/repos/delete", delete_repo, methods=["DELETE"]),
        Route("/lfs/{oid}", lfs_put, methods=["PUT"]),
        Route(api + repo + "/branch/{branch}", create_branch, methods=["POST"]),
        Route(api + repo + "/preupload/{revision}", preupload, methods=["POST"]),
        Route(api + repo + "/commit/{revision}", commit, methods=["POST"]),
        Route(api + repo + "/revision/{revision}", repo_info),
        Route(api + repo + "/tree/{revision}", tree),
        Route(api + repo, repo_info),
        Route("/{kind}" + repo + ".git/info/lfs/objects/batch", lfs_batch, methods=["POST"]),
        Route(repo + ".git/info/lfs/objects/batch", lfs_batch, methods=["POST"]),
        Route("/{kind}" + repo + "/resolve/{revision}/{path:path}", resolve, methods=["GET", "HEAD"]),
        Route(repo + "/resolve/{revision}/{path:path}", resolve, methods=["GET", "HEAD"]),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(Doorkeeper)], exception_handlers={HubError: refused})
    app.state.store, app.state.failures = Store(root), []
    app.state.access = ACCESS | {token: ACCESS[TOKEN]}
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a stand-in for the Hub.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--root", type=Path, required=True, help="folder for its contents")
    parser.add_argument("--token", default=TOKEN, help="a token that may write, whatever its form")
    args = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", args.port))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(args.root, args.token), log_level="critical", access_log=False, timeout_graceful_shutdown=1
        )
    )
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
