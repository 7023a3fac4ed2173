"""Kafka Connect with the file connectors: lines of a file become records, and records become lines of another file."""

import json
import pathlib
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request

from harness import await_that, bootstrap, check, consume, equal, java_command, java_version, main, matches, tool, topic

CONNECTORS = "org.apache.kafka.connect.file."
WORKERS = "org.apache.kafka.connect.cli."


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Worker:
    """A worker of Connect, with its properties in files of a directory; it may be stopped and started again."""

    def __init__(self, kind: str, directory: pathlib.Path, config: dict, *connectors: dict) -> None:
        self._url = f"http://127.0.0.1:{free_port()}"
        config = {
            "bootstrap.servers": bootstrap(),
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.storage.StringConverter",
            "listeners": self._url,
            "offset.flush.interval.ms": 500,
            "plugin.discovery": "only_scan",
            **config,
        }
        self._class = WORKERS + kind
        self._files = [properties(directory, config), *(properties(directory, c) for c in connectors)]
        self._process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.kill()

    def start(self) -> None:
        self._log = tempfile.TemporaryFile("w+")
        command = java_command(self._class, *self._files, options=["-Xmx512m"], home="connect")
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT, text=True)

    def stop(self) -> None:
        """Ends the process as it should end: with its offsets written."""
        self._process.terminate()
        self._process.wait(60)

    def kill(self) -> None:
        """Ends the process as a crash does."""
        self._process.kill()
        self._process.wait()

    def says(self) -> str:
        self._log.seek(0)
        return self._log.read()[-800:]

    def ask(self, method: str, path: str, body=None):
        """What its REST interface answers, None as long as it will not."""
        request = urllib.request.Request(self._url + path, json.dumps(body).encode() if body else None, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as e:
            if e.code in (404, 409):  # not yet, or while the workers share out their work
                return None
            raise AssertionError(f"{method} {path}: {e.code} {e.read().decode()}; Connect says {self.says()}") from e
        except OSError:
            if self._process.poll() is None:
                return None
            raise AssertionError(f"Connect ended: {self.says()}") from None


def properties(directory: pathlib.Path, values: dict) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".properties", dir=directory, delete=False) as file:
        file.writelines(f"{k}={v}\n" for k, v in values.items())
    return file.name


class Files:
    """The directory of a check: in.txt, which the source reads, and out.txt, which the sink writes."""

    def __enter__(self):
        self._temporary = tempfile.TemporaryDirectory(prefix="morrow-connect-", ignore_cleanup_errors=True)
        self.dir = pathlib.Path(self._temporary.name)
        return self

    def __exit__(self, *_) -> None:
        self._temporary.cleanup()

    def source(self, t: str) -> dict:
        return {"name": "source", "connector.class": CONNECTORS + "FileStreamSourceConnector", "tasks.max": 1, "file": self.dir / "in.txt", "topic": t}

    def sink(self, t: str) -> dict:
        return {"name": "sink", "connector.class": CONNECTORS + "FileStreamSinkConnector", "tasks.max": 2, "file": self.dir / "out.txt", "topics": t}

    def append(self, lines: list[str]) -> None:
        with (self.dir / "in.txt").open("a") as f:
            f.writelines(f"{line}\n" for line in lines)

    def await_lines(self, want: list[str], worker: Worker) -> None:
        """Waits until the sink has written as many lines as are wanted, which are the same then; it may write one again."""
        out = self.dir / "out.txt"
        found = lambda: list(dict.fromkeys(out.read_text().splitlines())) if out.exists() else []
        try:
            await_that("the sink has its lines", lambda: len(found()) >= len(want))
        except TimeoutError:
            pass
        if found() != want:
            raise AssertionError(f"the sink has {len(found())} lines, want {len(want)}; Connect says {worker.says()}")


@check
def standalone():
    t = topic("standalone")
    first, second = [f"line {i}" for i in range(500)], [f"more {i}" for i in range(500)]
    with Files() as files:
        files.append(first)
        config = {"offset.storage.file.filename": files.dir / "offsets"}
        sink = files.sink(t) | {"name": "standalone-sink"}
        with Worker("ConnectStandalone", files.dir, config, files.source(t), sink) as worker:
            files.await_lines(first, worker)
            worker.stop()
            files.append(second)
            worker.start()
            files.await_lines(first + second, worker)
            worker.stop()
    described = tool("consumer.group.ConsumerGroupCommand", "--describe", "--group", "connect-standalone-sink")
    matches(described, rf"^connect-standalone-sink +{t} +0 +(\S+ +)?1000 +1000 +0 ")


def distributed_config(group: str) -> dict:
    """Of a worker that shares the work with others of its group, and keeps in topics what it knows."""
    return {
        "group.id": group,
        **{f"{kind}.storage.topic": f"{group}-{kind}" for kind in ("config", "offset", "status")},
        **{f"{kind}.storage.replication.factor": 1 for kind in ("config", "offset", "status")},
        "exactly.once.source.support": "enabled",
        "scheduled.rebalance.max.delay.ms": 0,
        # Soon enough that who was killed is given up within the run.
        **{f"{prefix}session.timeout.ms": 6000 for prefix in ("", "consumer.")},
        **{f"{prefix}heartbeat.interval.ms": 1000 for prefix in ("", "consumer.")},
    }


def workers_of(worker: Worker, connector: str) -> set[str] | None:
    """Where the tasks of a connector run, once all do."""
    status = worker.ask("GET", f"/connectors/{connector}/status")
    if not status or not status["tasks"] or any(s["state"] != "RUNNING" for s in [status["connector"], *status["tasks"]]):
        return None
    return {task["worker_id"] for task in status["tasks"]}


@check
def distributed():
    t, group = topic("distributed"), topic("distributed-workers")
    lines = [f"line {i}" for i in range(900)]
    config = distributed_config(group)
    with Files() as files, Worker("ConnectDistributed", files.dir, config) as one, Worker("ConnectDistributed", files.dir, config) as other:
        tool("TopicCommand", "--create", "--topic", t, "--partitions", 1)
        for connector in (files.source(t), files.sink(t)):
            connector = {k: str(v) for k, v in connector.items()}
            await_that("the connector is made", lambda c=connector: one.ask("PUT", f"/connectors/{c['name']}/config", c))
        files.append(lines[:300])
        files.await_lines(lines[:300], one)
        both = lambda: (workers_of(one, "source") or set()) | (workers_of(one, "sink") or set())
        await_that("both workers have tasks", lambda: len(both()) == 2)

        # What the one did is done by the other, which begins where the one has committed.
        one.kill()
        files.append(lines[300:600])
        files.await_lines(lines[:600], other)

        # They find in their topics what they were told to do, and how far they are.
        other.stop()
        files.append(lines[600:])
        one.start()
        files.await_lines(lines, one)
        await_that("the tasks run", lambda: workers_of(one, "source") and workers_of(one, "sink"))
        one.stop()
    # The source wrote every line once, in transactions.
    equal("records", consume(t, 901, "--partition", 0, "--isolation-level", "read_committed", timeout_ms=5000), lines)
    for kind, partitions in (("config", 1), ("offset", 25), ("status", 5)):
        described = tool("TopicCommand", "--describe", "--topic", f"{group}-{kind}")
        matches(described, rf"PartitionCount: {partitions}\t.*cleanup\.policy=compact")


if __name__ == "__main__":
    main("Kafka Connect", java_version("connect"))
