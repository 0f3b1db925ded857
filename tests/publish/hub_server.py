"""A server with the endpoints of the Hugging Face Hub that its client uses to upload and download."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_good"
# of the rules by which the Hub judges a card, those that our cards could break
LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc0-1.0", "other", "unknown")
TASKS = (
    "image-classification", "text-classification", "audio-classification", "tabular-classification",
    "tabular-regression",
)  # fmt: skip
REGRESSIONS = ("image-regression", "audio-regression", "text-regression")  # no tasks of the Hub


def mistakes_in_card(text: str) -> list[str]:
    """Returns what the Hub would refuse in the metadata of a model card."""
    match = re.match(r"---\n(.*?\n)---\n", text, re.DOTALL)
    if match is None:
        return ["no metadata"]
    head, found = yaml.safe_load(match[1]), []
    if head.get("license") not in LICENCES:
        found.append(f'"license" must be one of {", ".join(LICENCES)}')
    if head.get("pipeline_tag", TASKS[0]) not in TASKS:
        found.append('"pipeline_tag" is no task')
    if not isinstance(head.get("tags"), list) or not all(isinstance(tag, str) for tag in head["tags"]):
        found.append('"tags" must be a list of texts')
    for model in head.get("model-index", []):
        for result in model["results"]:
            task = result["task"].get("type", "")
            if not {"type", "name"} <= result["dataset"].keys() or not (task in TASKS or task in REGRESSIONS):
                found.append('"model-index" lacks a data set or a task')
            if "pipeline_tag" not in head and task not in REGRESSIONS:
                found.append('"pipeline_tag" is missing')
            if not all(isinstance(metric["value"], int | float) for metric in result["metrics"]):
                found.append('"model-index" has a metric that is no number')
    return found


class Hub:
    """The server. `models` maps the names of repositories to their files."""

    def __init__(self):
        self.models: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.stored: dict[str, bytes] = {}  # large files by digest
        self.refused: str | None = None  # name of a repository to which nobody may write

    @contextlib.contextmanager
    def running(self):
        handler = type("Handler", (_Handler,), {"hub": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    def answer(self, method: str, path: str, body: bytes):
        """Returns the status, the headers and the content of an answer."""
        if path == "/api/validate-yaml":
            found = mistakes_in_card(json.loads(body)["content"])
            answer = json.dumps({"errors": [{"message": text} for text in found], "warnings": []})
            return 400 if found else 200, {}, answer.encode()
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.models.setdefault(name, {})
            self.private.setdefault(name, asked.get("visibility") == "private" or asked.get("private"))
            return _json({"url": f"{self.address}/{name}", "name": name})
        if match := re.fullmatch(r"/lfs/(\w+)", path):
            self.stored[match[1]] = body
            return 200, {}, b""
        match = re.match(r"/(?:api/models/)?([\w.-]+/[\w.-]+?)(?:\.git)?(?:/(.*))?$", path)
        if match is None or match[1] not in self.models:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        return self._of_model(method, match[1], match[2] or "", body)

    def _of_model(self, method, name, rest, body):
        files = self.models[name]
        if name == self.refused and method == "POST":
            return 403, {}, b'{"error": "you may not write here"}'
        if rest.startswith("preupload/"):
            modes, asked = {True: "lfs", False: "regular"}, json.loads(body)["files"]
            modes = {file["path"]: modes[file["path"].endswith(".keras")] for file in asked}
            return _json(
                {"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]}
            )
        if rest.startswith("info/lfs/objects/batch"):
            objects = [
                {**o, "actions": {"upload": {"href": f"{self.address}/lfs/{o['oid']}"}}}
                for o in json.loads(body)["objects"]
            ]
            return _json({"transfer": "basic", "objects": objects})
        if rest.startswith("commit/"):
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
                elif entry["key"] == "lfsFile":
                    files[entry["value"]["path"]] = self.stored[entry["value"]["oid"]]
            return _json({"commitUrl": f"{self.address}/{name}/commit/{COMMIT}", "commitOid": COMMIT})
        if match := re.fullmatch(r"resolve/[\w.-]+/(.*)", rest):
            if match[1] not in files:
                return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b""
            content = files[match[1]]
            digest = hashlib.sha256(content).hexdigest()
            return 200, {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT}, content
        if rest.startswith("tree/"):
            return _json(
                [{"type": "file", "path": p, "oid": "0" * 40, "size": len(c)} for p, c in files.items()]
            )
        return _json({"id": name, "sha": COMMIT, "siblings": [{"rfilename": path} for path in files]})


def _json(value):
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def _answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        status, headers, content = self.hub.answer(self.command, path, body)
        given = self.headers.get("Authorization")
        open_to_all = path == "/api/validate-yaml" or path.startswith("/lfs/")
        if self.command == "POST" and not open_to_all and given != f"Bearer {TOKEN}":
            status, headers, content = 401, {}, b'{"error": "Invalid token"}'
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_HEAD = _answer

    def log_message(self, *words):
        pass
