"""How close asking comes to what an endpoint can take, and what memory it needs.

    python benchmarks/scoring_throughput.py --json

Throughput: a local endpoint of fixed latency (`local_endpoint.py`) is asked by bare
sockets, as many as `--concurrency`: what it can take; by a sequential loop with the
`openai` client; and by the package's engine with real prompts, ledger, caps and token
counts. The three take turns; medians count. Memory: peak of a whole scoring job, from
the store to the table, with few and with many requests on the same store; each in a
process of its own. A killed job goes on from its ledger.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import openai
from scoring_job import synthetic_split

from keras_sllmr.scoring.candidates import CandidateSettings
from keras_sllmr.scoring.job import AskingBlocks
from keras_sllmr.scoring.llm.settings import LLMSettings
from keras_sllmr.scoring.sampler import CandidateSampler
from keras_sllmr.scoring.teachers.llm import LLMTeacher
from keras_sllmr.store.split import LeaveOneOut

HERE = Path(__file__).parent
# 20 candidates a prompt, as the paper's.
LISTS = CandidateSettings(near=0, tail_near=0, tail=2, uniform=15, probe_negatives=0)


@contextlib.contextmanager
def local_endpoint(work: Path, latency: float) -> Iterator[int]:
    """The port of an endpoint in a process of its own."""
    port_file = work / "port"
    port_file.unlink(missing_ok=True)
    command = [sys.executable, str(HERE / "local_endpoint.py")]
    options = ["--latency", str(latency), "--port-file", str(port_file)]
    server = subprocess.Popen([*command, *options])
    try:
        while not port_file.exists():
            time.sleep(0.05)
        yield int(port_file.read_text())
    finally:
        server.kill()
        server.wait()


def saturated(port: int, body: bytes, concurrency: int, rounds: int) -> float:
    """Requests a second of bare sockets, each asking again as soon as it is answered."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n"
    message = head % len(body) + body

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(rounds):
            writer.write(message)
            answer = await reader.readuntil(b"\r\n\r\n")
            size = int(answer.split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(size)
        writer.close()

    async def all_of_them() -> None:
        await asyncio.gather(*(ask() for _ in range(concurrency)))

    started = time.perf_counter()
    asyncio.run(all_of_them())
    return concurrency * rounds / (time.perf_counter() - started)


def sequential(port: int, body: bytes, requests: int) -> float:
    """Requests a second of a loop with the `openai` client."""
    client = openai.OpenAI(api_key="none", base_url=f"http://127.0.0.1:{port}/v1")
    fields = json.loads(body)
    started = time.perf_counter()
    for _ in range(requests):
        client.chat.completions.create(**fields)
    return requests / (time.perf_counter() - started)


class Asking:
    """The package's engine on a store's prompts."""

    def __init__(self, split: LeaveOneOut, work: Path, concurrency: int) -> None:
        self.split, self.work, self.concurrency = split, work, concurrency
        self.sampler = CandidateSampler(split, LISTS)

    def teacher(self, port: int, requests: int | None = None) -> LLMTeacher:
        ledger = self.work / "throughput.sqlite"
        for path in self.work.glob("throughput.sqlite*"):
            path.unlink()
        settings = LLMSettings(
            model="local",
            base_url=f"http://127.0.0.1:{port}/v1",
            caps={"max_requests": requests},
            transport={"concurrency": self.concurrency},
        )
        return LLMTeacher.open(self.split.store.item_texts, ledger, settings)

    def body(self) -> bytes:
        """One prompt, for those who only send bytes."""
        ((histories, candidates),) = AskingBlocks(self.sampler, [1])
        ((question, _),) = self.teacher(1).questions(histories[0], candidates[0])
        return json.dumps(question.next([]).body).encode()

    def measure(self, port: int, requests: int) -> float:
        """Requests a second."""
        teacher = self.teacher(port, requests)
        users = range(1, self.split.store.n_users + 1)
        teacher.ask(AskingBlocks(self.sampler, users))
        if teacher.tally.answered != requests:
            raise SystemExit(f"not all were answered: {teacher.tally}")
        return requests / teacher.tally.seconds


def throughput(options: argparse.Namespace) -> dict[str, float]:
    """Ratios of medians over rounds in which the three take turns."""
    split = synthetic_split(options.work / "store", users=options.users)
    asking = Asking(split, options.work, options.concurrency)
    body = asking.body()
    requests = options.concurrency * options.waves
    rates: dict[str, list[float]] = {"endpoint": [], "engine": [], "sequential": []}
    with local_endpoint(options.work, options.latency) as port:
        for _ in range(options.rounds):
            rates["endpoint"].append(
                saturated(port, body, options.concurrency, options.waves)
            )
            rates["engine"].append(asking.measure(port, requests))
            rates["sequential"].append(sequential(port, body, options.sequential))
    median = {name: statistics.median(each) for name, each in rates.items()}
    return {
        "of_saturation": median["engine"] / median["endpoint"],
        "over_sequential": median["engine"] / median["sequential"],
    }


def peak_mb(options: argparse.Namespace) -> dict[str, float]:
    """Peak memory of whole jobs, in MB, by number of requests."""
    synthetic_split(options.work / "store", users=options.users)
    peaks = {}
    with local_endpoint(options.work, 0.0) as port:
        for requests in options.requests:
            command = [sys.executable, str(HERE / "scoring_job.py")]
            arguments = [str(options.work), str(port), str(requests)]
            done = subprocess.run(
                [*command, *arguments], stdout=subprocess.PIPE, check=True
            )
            peaks[str(requests)] = json.loads(done.stdout.splitlines()[-1])["peak_mb"]
    return peaks


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("runs/scoring_throughput"))
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--latency", type=float, default=0.5, help="seconds")
    parser.add_argument("--waves", type=int, default=20, help="of so many requests")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sequential", type=int, default=10, help="requests a round")
    parser.add_argument("--users", type=int, default=100_000, help="of the store")
    parser.add_argument(
        "--requests", type=int, nargs="*", default=[10_000, 1_000_000], help="memory"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    figures = {**throughput(options), "peak_mb": peak_mb(options)}
    print(json.dumps(figures) if options.json else figures)


if __name__ == "__main__":
    main()
