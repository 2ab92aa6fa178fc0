import json
from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from keras_sllmr.errors import ConfigError, EndpointError
from keras_sllmr.scoring.llm.batch import BatchEngine
from keras_sllmr.scoring.llm.batch_calls import BatchCalls
from keras_sllmr.scoring.llm.batch_ledger import BatchLedger
from keras_sllmr.scoring.llm.batch_rounds import BatchSettings
from keras_sllmr.scoring.llm.caps import Caps, Spending
from keras_sllmr.scoring.llm.client import Client
from keras_sllmr.scoring.llm.ledger import Ledger
from keras_sllmr.scoring.llm.prices import Price
from keras_sllmr.scoring.llm.request import CHAT, EMBEDDINGS, Request
from keras_sllmr.scoring.llm.tokens import TokenCounter
from keras_sllmr.scoring.llm.transport import TransportSettings

PRICE = Price(prompt=1.0, completion=2.0, batch=0.5)
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "schema": {
            "properties": {"ranking": {"type": "array", "items": {"type": "integer"}}}
        }
    },
}


@dataclass(frozen=True)
class Asked:
    """Asks `steps` requests in a row, the later ones after the earlier ones."""

    name: str
    steps: int = 1

    def next(self, answers):
        if len(answers) == self.steps or (answers and answers[-1].reason):
            return None
        text = f'{self.name}\n1: "one"\n2: "two"'
        body = {
            "model": "local",
            "messages": [{"role": "user", "content": text}],
            "max_tokens": 20,
            "response_format": SCHEMA,
        }
        return Request(CHAT, body, attempt=len(answers))


def asked(count, steps=1):
    return [(number, Asked(f"user {number}", steps)) for number in range(count)]


class Killed(BaseException):
    pass


class Job:
    """A process: opens the ledger anew, asks, and is gone."""

    def __init__(self, served, path, *, tries=3, caps=None, **batch):
        self.served, self.path = served, path
        self.batch = BatchSettings(poll_seconds=0, **batch)
        self.caps = caps
        self.settings = TransportSettings(
            tries=tries, backoff=0.001, longest_wait=5, down_after=0.001
        )
        self.done = []
        self.ledger = Ledger(path)
        spent = self.ledger.totals()
        self.spending = Spending(
            caps,
            PRICE,
            batch=True,
            requests=spent.requests,
            tokens=spent.prompt_tokens + spent.completion_tokens,
            usd=spent.usd,
        )
        self.engine = BatchEngine(
            lambda: Client(base_url=served.base_url, timeout=5),
            self.ledger,
            spending=self.spending,
            counter=TokenCounter("local"),
            settings=self.settings,
            batch=self.batch,
        )

    def ask(self, questions):
        self.tally = self.engine.ask(questions, done=self.done.append)
        return self.tally

    def agree(self):
        """Whether what was spent is the same by the ledger and by the caps."""
        totals, report = self.ledger.totals(), self.spending.report()
        assert report["tokens"] == totals.prompt_tokens + totals.completion_tokens
        assert report["usd"] == pytest.approx(totals.usd)
        assert report["requests"] == totals.requests
        assert report["under_way"] == 0


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    jobs = []

    def make(served, name="ledger.sqlite", **options):
        jobs.append(Job(served, tmp_path / name, **options))
        return jobs[-1]

    yield make
    for job in jobs:
        job.ledger.close()


def handed_in(served):
    """For each batch, the custom ids of its file."""
    files = served.endpoint.files
    return [
        [json.loads(line)["custom_id"] for line in files[name].splitlines()]
        for name in (each["input_file_id"] for each in served.endpoint.batches.values())
    ]


def test_every_question_is_answered_in_rounds(endpoint, start):
    served = endpoint()
    job = start(served)
    tally = job.ask(asked(5, steps=2))

    assert (tally.questions, tally.sent, tally.answered) == (5, 10, 10)
    assert (tally.reused, tally.ignored, tally.failed) == (0, 0, {})
    assert sorted(job.done) == list(range(5))
    assert list(map(len, handed_in(served))) == [5, 5]
    first = Asked("user 3").next([])
    answer = job.ledger.get(first.key)
    ranked = json.loads(answer.content)["ranking"]
    assert sorted(ranked) == [1, 2]
    usd = (answer.usage.prompt * 1.0 + answer.usage.completion * 2.0) * 0.5 / 1e6
    assert job.ledger.usd(first.key) == pytest.approx(usd)
    job.agree()

    again = start(served).ask(asked(5, steps=2))
    assert (again.sent, again.reused, again.questions) == (0, 10, 5)
    assert not list(job.path.parent.glob(".ledger.sqlite.new-*"))


def test_the_files_lines_are_what_the_batch_api_takes(endpoint, start):
    served = endpoint()
    start(served).ask(asked(1))
    (batch,) = served.endpoint.batches.values()
    (line,) = served.endpoint.files[batch["input_file_id"]].splitlines()
    request = Asked("user 0").next([])
    assert json.loads(line) == {
        "custom_id": request.key,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": request.body,
    }
    assert batch["endpoint"] == "/v1/chat/completions"
    assert batch["completion_window"] == "24h"
    assert set(batch["metadata"]) == {"sllmr"}


def test_files_are_split_by_count(endpoint, start):
    served = endpoint()
    tally = start(served, max_requests_per_file=3).ask(asked(8))
    assert list(map(len, handed_in(served))) == [3, 3, 2]
    assert tally.answered == 8


def test_files_are_split_by_bytes(endpoint, start):
    served = endpoint()
    start(served, "other.sqlite").ask(asked(1))
    (size,) = (len(content) for content in list(served.endpoint.files.values())[:1])
    # Names of one digit: all lines are equally long.
    exact = endpoint()
    start(exact, max_bytes_per_file=2 * size).ask(asked(5))
    assert list(map(len, handed_in(exact))) == [2, 2, 1]
    tight = endpoint()
    start(tight, "tight.sqlite", max_bytes_per_file=1).ask(asked(2))
    assert list(map(len, handed_in(tight))) == [1, 1]


def test_a_batch_is_for_one_route(endpoint, start):
    class Embedded:
        def next(self, answers):
            body = {"model": "local", "input": ["text"]}
            return None if answers else Request(EMBEDDINGS, body)

    served = endpoint()
    job = start(served)
    job.ask([(0, Asked("a")), (1, Embedded())])
    routes = [each["endpoint"] for each in served.endpoint.batches.values()]
    assert routes == ["/v1/chat/completions", "/v1/embeddings"]
    assert job.ledger.get(Embedded().next([]).key).vectors.shape == (1, 16)


def test_a_repeated_request_is_sent_once(endpoint, start):
    served = endpoint()
    # The second half repeats what is already in a batch, and what is still in the file.
    job = start(served, max_requests_per_file=2)
    tally = job.ask([(n, Asked(f"user {n % 3}")) for n in range(6)])
    assert (tally.sent, tally.questions) == (3, 6)
    assert sorted(job.done) == list(range(6))


def test_questions_must_be_there_for_every_round(endpoint, start):
    with pytest.raises(ConfigError, match="gone through again"):
        start(endpoint()).ask(iter(asked(1)))


def test_spending_must_be_at_batch_prices(tmp_path):
    with pytest.raises(ConfigError, match="batch prices"):
        BatchEngine(
            Client,
            Ledger(tmp_path / "ledger.sqlite"),
            spending=Spending(),
            counter=TokenCounter("local"),
        )


def test_faults_pass(endpoint, start):
    served = endpoint(faults=0.5)
    job = start(served, tries=4)
    tally = job.ask(asked(40))
    failed = sum(line["fault"] in ("429", "500", "reset") for line in served.log)
    assert failed
    assert (tally.answered, tally.failed) == (40, {})
    assert tally.sent > 40
    job.agree()


def lines_of(endpoint, batch):
    content = endpoint.files[batch["input_file_id"]]
    return [json.loads(line) for line in content.splitlines()]


def ok(endpoint, request):
    body = endpoint.answer(request["url"], json.dumps(request["body"]).encode())
    return {
        "custom_id": request["custom_id"],
        "response": {"status_code": 200, "body": body},
        "error": None,
    }


def put(endpoint, batch, kind, entries):
    batch[kind] = f"file-{len(endpoint.files)}"
    lines = [each if isinstance(each, str) else json.dumps(each) for each in entries]
    endpoint.files[batch[kind]] = "\n".join(lines).encode()


@pytest.fixture
def ends(local_endpoint, monkeypatch):
    """Ends batches by the given functions of (endpoint, batch), then as usual."""

    def use(*functions):
        usual, left = local_endpoint._complete, list(functions)

        def complete(endpoint, batch):
            (left.pop(0) if left else usual)(endpoint, batch)

        monkeypatch.setattr(local_endpoint, "_complete", complete)

    return use


def refused_line(status):
    def end(endpoint, batch):
        requests = lines_of(endpoint, batch)
        batch["status"] = "completed"
        put(
            endpoint,
            batch,
            "error_file_id",
            [
                {
                    "custom_id": each["custom_id"],
                    "response": {"status_code": status, "body": {"error": {}}},
                }
                for each in requests
            ],
        )

    return end


def test_a_request_is_given_up_after_its_tries(endpoint, start, ends):
    ends(*[refused_line(500)] * 3)
    served = endpoint()
    job = start(served, tries=3)
    tally = job.ask(asked(2, steps=2))
    assert (tally.sent, tally.answered, tally.questions) == (6, 0, 2)
    assert tally.failed == {"http 500": 2}
    assert job.ledger.totals().usd == 0
    key = Asked("user 0").next([]).key
    assert job.ledger.failure(key).reason == "http 500"
    # A later job asks again.
    again = start(served, tries=3).ask(asked(2))
    assert (again.answered, again.failed) == (2, {})
    assert job.ledger.failure(key) is None


def test_what_an_earlier_job_gave_up_has_all_its_tries(endpoint, start, ends):
    ends(*[refused_line(500)] * 2)
    served = endpoint()
    assert start(served, tries=1).ask(asked(1)).failed == {"http 500": 1}
    tally = start(served, tries=2).ask(asked(1))
    assert (tally.sent, tally.answered, tally.failed) == (2, 1, {})


def test_a_refused_request_is_not_repeated(endpoint, start, ends):
    ends(refused_line(400))
    tally = start(endpoint()).ask(asked(2))
    assert (tally.sent, tally.failed, tally.questions) == (2, {"http 400": 2}, 2)


def test_an_expired_batch_keeps_its_answers(endpoint, start, ends):
    def expire(endpoint, batch):
        first, second, *_ = lines_of(endpoint, batch)
        batch["status"] = "expired"
        put(endpoint, batch, "output_file_id", [ok(endpoint, first)])
        error = {"code": "batch_expired", "message": "too late"}
        entry = {"custom_id": second["custom_id"], "response": None, "error": error}
        put(endpoint, batch, "error_file_id", [entry])

    ends(expire)
    served = endpoint()
    job = start(served)
    tally = job.ask(asked(3))
    assert list(map(len, handed_in(served))) == [3, 2]
    assert (tally.sent, tally.answered, tally.failed) == (5, 3, {})
    outcomes = job.ledger.totals().outcomes
    assert outcomes == {"answered": 3, "batch expired": 2}
    job.agree()


@pytest.mark.parametrize("status", ["completed", "cancelled", "expired"])
def test_requests_without_a_line_are_asked_again(endpoint, start, ends, status):
    ends(lambda endpoint, batch: batch.update(status=status))
    job = start(endpoint())
    tally = job.ask(asked(2))
    assert (tally.sent, tally.answered) == (4, 2)
    name = "missing" if status == "completed" else f"batch {status}"
    assert job.ledger.totals().outcomes == {"answered": 2, name: 2}
    job.agree()


def test_strange_lines_are_passed_over(endpoint, start, ends):
    def end(endpoint, batch):
        first, second, third = lines_of(endpoint, batch)
        batch["status"] = "completed"
        odd = ok(endpoint, second)
        odd["response"]["body"] = {"no": "choices"}
        answered = ok(endpoint, first)
        unknown = {**answered, "custom_id": "unknown"}
        entries = [answered, answered, unknown, "", '{"cut', "[1]", odd]
        third = {"custom_id": third["custom_id"], "error": {"code": "sk-secret key"}}
        put(endpoint, batch, "output_file_id", [*entries, third])

    ends(end)
    job = start(endpoint())
    tally = job.ask(asked(3))
    assert (tally.answered, tally.sent, tally.ignored) == (3, 5, 4)
    outcomes = job.ledger.totals().outcomes
    assert outcomes == {"answered": 3, "unreadable": 1, "batch error": 1}
    job.agree()


def test_answers_that_are_gone_were_billed(endpoint, start, ends):
    def end(endpoint, batch):
        batch.update(status="completed", output_file_id="file-gone")

    ends(end)
    job = start(endpoint())
    assert job.ask(asked(2)).answered == 2
    totals = job.ledger.totals()
    assert totals.outcomes == {"answered": 2, "lost": 2}
    answers = [job.ledger.get(q.next([]).key) for _, q in asked(2)]
    assert totals.completion_tokens == 40 + sum(a.usage.completion for a in answers)
    job.agree()


def fail(endpoint, batch):
    errors = [{"code": "token_limit_exceeded", "message": "too much enqueued"}]
    batch.update(status="failed", errors={"object": "list", "data": errors})


def test_a_batch_that_was_not_taken_is_handed_in_again(endpoint, start, ends):
    ends(fail)
    served = endpoint()
    # One try only: a request that was never run has used none.
    job = start(served, tries=1, max_requests_per_file=2)
    tally = job.ask(asked(4))
    first, second, third = handed_in(served)
    assert third == first != second
    assert (tally.answered, tally.failed) == (4, {})
    assert job.ledger.totals().outcomes == {"answered": 4}
    job.agree()


def test_an_endpoint_that_takes_no_batch_ends_the_job(endpoint, start, ends):
    ends(fail, fail)
    job = start(endpoint(), max_requests_per_file=1)
    with pytest.raises(EndpointError, match="no batch: token_limit_exceeded: too much"):
        job.ask(asked(2))
    assert job.ledger.totals().requests == 0
    job.agree()
    assert job.ask(asked(2)).answered == 2


def test_a_cap_ends_the_filling(endpoint, start):
    served = endpoint()
    job = start(served, caps=Caps(max_requests=3))
    tally = job.ask(asked(5))
    assert (tally.stopped, tally.sent, tally.answered) == ("max_requests", 3, 3)
    assert sorted(job.done) == [0, 1, 2]
    nothing = start(served, caps=Caps(max_requests=3)).ask(asked(5))
    assert (nothing.stopped, nothing.sent) == ("max_requests", 0)


def test_a_cap_in_usd_is_never_exceeded(endpoint, start):
    request = Asked("user 0").next([])
    prompt = TokenCounter("local").bound(request.body)
    bound = PRICE.usd(SimpleNamespace(prompt=prompt, completion=20, cached=0))
    served = endpoint()
    caps = Caps(max_usd=1.75 * bound)  # 3.5 requests at half the price
    job = start(served, caps=caps, max_requests_per_file=1)
    tally = job.ask(asked(6))
    assert (tally.stopped, tally.sent) == ("max_usd", 3)
    job.agree()
    # What the answers did not cost is there for the next run.
    later = start(served, caps=caps)
    assert 0 < later.ask(asked(6)).sent
    assert later.ledger.totals().usd <= caps.max_usd
    later.agree()


def killed_before(monkeypatch, name):
    """Kills the job instead of a call."""

    async def call(*arguments, **options):
        raise Killed

    monkeypatch.setattr(BatchCalls, name, call)


def killed_after(monkeypatch, name):
    """Kills the job after a call, before its result is known."""
    usual = getattr(BatchCalls, name)

    async def call(*arguments, **options):
        await usual(*arguments, **options)
        raise Killed

    monkeypatch.setattr(BatchCalls, name, call)


@pytest.mark.parametrize("kill", [killed_before, killed_after])
@pytest.mark.parametrize("step", ["upload", "create", "retrieve", "download"])
def test_a_killed_job_pays_for_nothing_twice(endpoint, start, monkeypatch, kill, step):
    served = endpoint()
    job = start(served, max_requests_per_file=2)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill(patch, step)
        job.ask(asked(3))
    job.ledger.close()

    later = start(served, max_requests_per_file=2)
    tally = later.ask(asked(3))
    assert tally.questions == 3
    assert sorted(later.done) == [0, 1, 2]
    handed = Counter(key for batch in handed_in(served) for key in batch)
    assert set(handed.values()) == {1}
    assert later.ledger.totals().outcomes == {"answered": 3}
    assert BatchLedger(later.ledger).opened() == []
    later.agree()


def test_a_job_killed_while_it_takes_answers_in_goes_on(endpoint, start, monkeypatch):
    served = endpoint()
    job = start(served)
    usual, count = Ledger.answer, Counter()

    def answer(*arguments, **options):
        count["answers"] += 1
        if count["answers"] == 5:
            raise Killed
        usual(*arguments, **options)

    monkeypatch.setattr("keras_sllmr.scoring.llm.batch_collect._PART", 2)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Ledger, "answer", answer)
        job.ask(asked(6))
    later = start(served)
    # Two parts of two are kept; they come a second time, and are passed over.
    tally = later.ask(asked(6))
    assert (tally.sent, tally.answered, tally.ignored) == (0, 2, 4)
    assert len(served.endpoint.batches) == 1
    later.agree()


def test_a_stopped_job_says_what_is_under_way(endpoint, start, monkeypatch):
    served = endpoint()

    async def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BatchCalls, "retrieve", interrupted)
        with pytest.raises(KeyboardInterrupt, match="under way: 1; the next run"):
            start(served).ask(asked(2))
    later = start(served, tries=1)
    # By its id: the name is known, so nothing is looked up.
    with monkeypatch.context() as patch:
        killed_before(patch, "find")
        tally = later.ask(asked(2))
    assert (tally.sent, tally.answered, tally.reused) == (0, 2, 0)


def test_batches_at_another_endpoint_are_not_forgotten(endpoint, start, monkeypatch):
    served = endpoint()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_before(patch, "retrieve")
        start(served).ask(asked(2))
    with pytest.raises(ConfigError, match="must be asked for it"):
        start(endpoint()).ask(asked(2))


def test_the_caps_count_what_is_under_way(endpoint, start, monkeypatch):
    served, caps = endpoint(), Caps(max_requests=2)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_before(patch, "retrieve")
        start(served, caps=caps).ask(asked(2))
    later = start(served, caps=caps)
    tally = later.ask(asked(3))
    assert (tally.answered, tally.stopped) == (2, "max_requests")
    later.agree()


@pytest.fixture
def spoil(local_endpoint, monkeypatch):
    """Spoils the first answers of a route: a status, "cut" or "lost"."""

    def use(method, part, *faults):
        usual, left = local_endpoint.Connection.respond, list(faults)

        def respond(self, sent, path, body):
            if not (left and sent == method and part in path):
                return usual(self, sent, path, body)
            fault = left.pop(0)
            if isinstance(fault, int):
                error = b'{"error": {"message": "for a test"}}'
                return self.send(fault, error, b"retry-after: 0\r\n")
            status, payload = local_endpoint.batch_api(self.endpoint, sent, path, body)
            if fault == "cut":
                head = b"HTTP/1.1 %d -\r\ncontent-length: %d\r\n\r\n"
                self.transport.write(head % (status, len(payload)) + payload[:9])
            self.transport.close()

        monkeypatch.setattr(local_endpoint.Connection, "respond", respond)

    return use


CALLS = [
    ("POST", "/files"),
    ("POST", "/batches"),
    ("GET", "/batches/"),
    ("GET", "/content"),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", [429, 503, "cut", "lost"])
def test_calls_that_fail_are_tried_again(endpoint, start, spoil, call, fault):
    served = endpoint()
    job = start(served)
    spoil(*call, fault, fault)
    tally = job.ask(asked(2))
    assert (tally.sent, tally.answered) == (2, 2)
    # A batch whose creation got no answer was created all the same, once.
    assert len(served.endpoint.batches) == 1
    job.agree()


@pytest.mark.parametrize("call", CALLS)
def test_calls_that_go_on_failing_end_the_job(endpoint, start, spoil, call):
    served = endpoint()
    job = start(served)
    spoil(*call, *[500] * 3)
    with pytest.raises(EndpointError, match=r"did not .*http 500.*Batches under way"):
        job.ask(asked(2))
    # The same engine goes on.
    assert job.ask(asked(2)).answered == 2
    assert len(served.endpoint.batches) == 1
    assert job.ledger.totals().outcomes == {"answered": 2}


def test_a_refusal_ends_the_job_at_once(endpoint, start, spoil):
    spoil("POST", "/files", 401)
    with pytest.raises(EndpointError, match="refuses: http 401"):
        start(endpoint()).ask(asked(2))
