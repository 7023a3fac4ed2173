"""Kafka Connect with the file connectors: lines of a file become records, and records become lines of another file."""

import pathlib
import shutil
import socket
import subprocess
import tempfile

from harness import await_that, bootstrap, check, java_command, java_version, main, matches, tool, topic

CONNECTORS = "org.apache.kafka.connect.file."


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Worker:
    """A standalone worker of Connect, with its properties and files in a directory of its own."""

    def __init__(self, name: str, config: dict, *connectors: dict) -> None:
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="morrow-connect-"))
        config = {
            "bootstrap.servers": bootstrap(),
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.storage.StringConverter",
            "listeners": f"http://127.0.0.1:{free_port()}",
            "offset.flush.interval.ms": 500,
            "plugin.discovery": "only_scan",
            **{k: str(v).replace("$dir", str(self.dir)) for k, v in config.items()},
        }
        self._files = [self._properties(f"{name}.properties", config)]
        for c in connectors:
            c = {k: str(v).replace("$dir", str(self.dir)) for k, v in c.items()}
            self._files.append(self._properties(f"{c['name']}.properties", c))
        self._process = None

    def _properties(self, name: str, values: dict) -> str:
        file = self.dir / name
        file.write_text("".join(f"{k}={v}\n" for k, v in values.items()))
        return str(file)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def start(self) -> None:
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            java_command("org.apache.kafka.connect.cli.ConnectStandalone", *self._files, options=["-Xmx512m"], home="connect"), stdout=self._log, stderr=subprocess.STDOUT, text=True,
        )

    def stop(self) -> None:
        """Ends the process as it should end: with its offsets written."""
        self._process.terminate()
        self._process.wait(60)

    def await_lines(self, file: str, want: list[str]) -> None:
        path = self.dir / file
        found = lambda: path.read_text().splitlines() if path.exists() else []
        try:
            await_that(f"{file} has its lines", lambda: len(found()) >= len(want), 90)
        except TimeoutError:
            pass
        self._log.seek(0)
        if found() != want:
            raise AssertionError(f"{file} has {len(found())} lines, want {len(want)}; Connect says {self._log.read()[-800:]}")


def source(t: str) -> dict:
    return {
        "name": "source", "connector.class": CONNECTORS + "FileStreamSourceConnector", "tasks.max": 1, "file": "$dir/in.txt", "topic": t,
    }


def sink(t: str) -> dict:
    return {"name": "sink", "connector.class": CONNECTORS + "FileStreamSinkConnector", "tasks.max": 1, "file": "$dir/out.txt", "topics": t}


def append(worker: Worker, lines: list[str]) -> None:
    with (worker.dir / "in.txt").open("a") as f:
        f.writelines(f"{line}\n" for line in lines)


@check
def standalone():
    t = topic("standalone")
    config = {"offset.storage.file.filename": "$dir/offsets"}
    first, second = [f"line {i}" for i in range(500)], [f"more {i}" for i in range(500)]
    with Worker("standalone", config, source(t), sink(t)) as worker:
        append(worker, first)
        worker.await_lines("out.txt", first)
        worker.stop()
        append(worker, second)
        worker.start()
        worker.await_lines("out.txt", first + second)
        worker.stop()
    described = tool("consumer.group.ConsumerGroupCommand", "--describe", "--group", "connect-sink")
    matches(described, rf"^connect-sink +{t} +0 +(\S+ +)?1000 +1000 +0 ")


if __name__ == "__main__":
    main("Kafka Connect", java_version("connect"))
