"""An OpenAI-compatible endpoint on this machine: fixed latency, right answers, faults.

    python benchmarks/local_endpoint.py --latency 0.5 --port-file port.txt

It answers /v1/chat/completions (scores, rankings, yes or no), /v1/embeddings and the
Batch API. An item's score is a pure function of its text, so that answers do not depend
on who asks, when, or together with what. With `--faults` a share of the requests goes
wrong at first; which, how and how often is a pure function of the request.
"""

import argparse
import asyncio
import hashlib
import json
import os
import re
import sys
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

FAULTS = (
    "429",
    "429 retry-after",
    "500",
    "reset",
    "hang",
    "cut body",
    "cut json",
    "wrong ids",
    "score of 100",
    "empty choices",
)
# These come as answers: HTTP says 200.
CONTENT_FAULTS = FAULTS[6:]
_LINE = re.compile(r'^(\d+): (".*")$', re.MULTILINE)


def score_of(text: str) -> float:
    """The score of a text: two decimals in [0, 1]."""
    return zlib.crc32(text.encode()) % 101 / 100


class Endpoint:
    """What is answered, whatever the transport.

    Args:
        faults: share of the requests that go wrong at first.
        log: a file that gets a JSON line a request.
    """

    def __init__(self, *, faults: float = 0.0, log: Path | None = None) -> None:
        self.faults, self.log = faults, log.open("a") if log else None
        self.seen: Counter[str] = Counter()
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.requests = 0

    def fault(self, body: bytes) -> str:
        """The fault of this sending of a request; empty for none."""
        digest = hashlib.sha256(body).digest()
        key = digest.hex()[:16]
        nth = self.seen[key]
        self.seen[key] += 1
        kind = ""
        if digest[0] < 256 * self.faults and nth <= digest[1] % 2:
            kind = FAULTS[(digest[2] + nth) % len(FAULTS)]
        if self.log:
            line = {"request": key, "nth": nth, "fault": kind}
            self.log.write(json.dumps(line) + "\n")
            self.log.flush()
        return kind

    def chat(self, body: dict[str, Any], fault: str = "") -> dict[str, Any]:
        """A chat completion."""
        text = body["messages"][-1]["content"]
        shown = [(int(i), json.loads(quoted)) for i, quoted in _LINE.findall(text)]
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        if body.get("logprobs"):
            choice |= _yes_or_no(text)
        else:
            content = _scores(shown, body, fault)
            if fault == "cut json":
                content, choice["finish_reason"] = (
                    content[: len(content) // 2],
                    "length",
                )
            choice["message"] = {"role": "assistant", "content": content}
        prompt, written = len(text) // 4, len(choice["message"]["content"]) // 4 + 1
        return {
            "id": "chatcmpl-local",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [] if fault == "empty choices" else [choice],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": written,
                "total_tokens": prompt + written,
            },
        }

    def embeddings(self, body: dict[str, Any]) -> dict[str, Any]:
        """Vectors that depend on the texts alone."""
        data = [
            {"object": "embedding", "index": index, "embedding": _vector(text)}
            for index, text in enumerate(body["input"])
        ]
        tokens = sum(len(text) // 4 + 1 for text in body["input"])
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "model": body["model"], "data": data, "usage": usage}

    def answer(self, path: str, raw: bytes, fault: str = "") -> dict[str, Any]:
        """The JSON answer to a request's body."""
        body = json.loads(raw)
        if path.endswith("/embeddings"):
            return self.embeddings(body)
        return self.chat(body, fault)


def _scores(shown: list[tuple[int, str]], body: dict[str, Any], fault: str) -> str:
    schema = body["response_format"]["json_schema"]["schema"]["properties"]
    (name,) = schema
    entry = schema[name]["items"]
    ranked = sorted(shown, key=lambda each: -score_of(each[1]))
    if entry["type"] == "integer":
        return json.dumps({name: [number for number, _ in ranked]})
    id_name, score_name = entry["properties"]
    bounds = entry["properties"][score_name]
    span = bounds["maximum"] - bounds["minimum"]
    entries = []
    for number, text in shown:
        score = bounds["minimum"] + span * score_of(text)
        entries.append({id_name: number, score_name: round(score, 6)})
    if fault == "wrong ids":
        entries = [{**each, id_name: each[id_name] + 1000} for each in entries]
    if fault == "score of 100":
        entries[0][score_name] = 100 * bounds["maximum"] + 1
    return json.dumps({name: entries})


def _yes_or_no(text: str) -> dict[str, Any]:
    score = score_of(text)
    alternatives = [
        {"token": "Yes", "logprob": -1.0 + score, "bytes": None},
        {"token": "No", "logprob": -1.0 - score, "bytes": None},
    ]
    token = {**alternatives[0], "top_logprobs": alternatives}
    return {
        "message": {"role": "assistant", "content": "Yes"},
        "logprobs": {"content": [token]},
    }


def _vector(text: str) -> list[float]:
    digest = hashlib.sha256(text.encode()).digest()[:16]
    return [byte / 127.5 - 1 for byte in digest]


class Connection(asyncio.Protocol):
    """HTTP/1.1, as much of it as the `openai` client speaks."""

    def __init__(self, endpoint: Endpoint, latency: float) -> None:
        self.endpoint, self.latency = endpoint, latency
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        size = int(length[1]) if length else 0
        if len(rest) < size:
            return
        self.buffer = rest[size:]
        method, path, _ = head.split(b" ", 2)
        self.endpoint.requests += 1
        self.respond(method.decode(), path.decode().split("?")[0], rest[:size])

    def respond(self, method: str, path: str, body: bytes) -> None:
        if "/batches" in path or "/files" in path:
            status, payload = batch_api(self.endpoint, method, path, body)
            return self.send(status, payload)
        if method == "GET":
            return self.send(200, b'{"object": "list", "data": []}')
        fault = self.endpoint.fault(body)
        if fault == "hang":
            return
        if fault == "reset":
            return self.transport.abort()
        error = b'{"error": {"message": "for a test", "type": "test"}}'
        if fault in ("429", "500"):
            return self.later(self.send, int(fault), error)
        if fault == "429 retry-after":
            return self.later(self.send, 429, error, b"retry-after: 0.2\r\n")
        payload = json.dumps(self.endpoint.answer(path, body, fault)).encode()
        if fault == "cut body":
            payload = payload[: len(payload) // 2]
        self.later(self.send, 200, payload)

    def later(self, *call: Any) -> None:
        asyncio.get_running_loop().call_later(self.latency, *call)

    def send(self, status: int, payload: bytes, headers: bytes = b"") -> None:
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 %d -\r\ncontent-type: application/json\r\n%s"
                b"content-length: %d\r\n\r\n%s"
                % (status, headers, len(payload), payload)
            )


def batch_api(
    endpoint: Endpoint, method: str, path: str, body: bytes
) -> tuple[int, bytes]:
    """Files and batches; a batch is done when it is asked for a second time."""
    parts = path.strip("/").split("/")[1:]
    if parts[0] == "files" and method == "POST":
        content = re.search(rb'filename="[^"]*".*?\r\n\r\n(.*?)\r\n--', body, re.DOTALL)
        name = f"file-{len(endpoint.files)}"
        endpoint.files[name] = content[1] if content else b""
        return 200, _file(name, endpoint.files[name])
    if parts[0] == "files":
        if parts[1] not in endpoint.files:
            return 404, b'{"error": {"message": "no such file"}}'
        held = endpoint.files[parts[1]]
        return 200, held if parts[-1] == "content" else _file(parts[1], held)
    if method == "POST" and len(parts) == 1:
        batch = {
            **json.loads(body),
            "id": f"batch-{len(endpoint.batches)}",
            "object": "batch",
            "created_at": 0,
            "status": "in_progress",
        }
        endpoint.batches[batch["id"]] = batch
        return 200, json.dumps(batch).encode()
    if len(parts) == 1:
        listed = {"object": "list", "data": list(endpoint.batches.values())}
        return 200, json.dumps({**listed, "has_more": False}).encode()
    batch = endpoint.batches[parts[1]]
    if batch["status"] == "in_progress":
        batch["status"] = "finalizing"
    elif batch["status"] == "finalizing":
        _complete(endpoint, batch)
    return 200, json.dumps(batch).encode()


def _complete(endpoint: Endpoint, batch: dict[str, Any]) -> None:
    done, failed = [], []
    for line in endpoint.files[batch["input_file_id"]].splitlines():
        request = json.loads(line)
        fault = endpoint.fault(json.dumps(request["body"]).encode())
        entry: dict[str, Any] = {"id": "x", "custom_id": request["custom_id"]}
        if fault and fault not in CONTENT_FAULTS:
            entry["response"] = {"status_code": 500, "body": {"error": {}}}
            failed.append(entry)
            continue
        body = endpoint.answer(
            request["url"], json.dumps(request["body"]).encode(), fault
        )
        entry |= {"response": {"status_code": 200, "body": body}, "error": None}
        done.append(entry)
    batch["status"] = "completed"
    for kind, entries in (("output_file_id", done), ("error_file_id", failed)):
        if entries:
            batch[kind] = f"file-{len(endpoint.files)}"
            # Out of order, as the API may.
            lines = [json.dumps(entry).encode() for entry in reversed(entries)]
            endpoint.files[batch[kind]] = b"\n".join(lines) + b"\n"


def _file(name: str, content: bytes) -> bytes:
    return json.dumps(
        {
            "id": name,
            "object": "file",
            "bytes": len(content),
            "created_at": 0,
            "filename": "batch.jsonl",
            "purpose": "batch",
            "status": "processed",
        }
    ).encode()


async def serve(arguments: argparse.Namespace) -> None:
    """Serves until killed, or until the process that started it is gone."""
    endpoint = Endpoint(faults=arguments.faults, log=arguments.log)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(endpoint, arguments.latency),
        "127.0.0.1",
        arguments.port,
        backlog=4096,
    )
    port = server.sockets[0].getsockname()[1]
    if arguments.port_file:
        beside = arguments.port_file.with_suffix(".new")
        beside.write_text(str(port))
        beside.replace(arguments.port_file)
    else:
        print(port, flush=True)
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(1)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    parser.add_argument("--faults", type=float, default=0.0, help="share of requests")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--port-file", type=Path)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
