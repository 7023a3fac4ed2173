"""The integration tests that rskafka brings, each in a process of its own."""

import fnmatch
import json
import os
import pathlib
import re
import subprocess

import harness

HERE = pathlib.Path(__file__).resolve().parent
MANIFEST = HERE.parent.parent / "rust" / "Cargo.toml"

ENVIRONMENT = os.environ | {
    "CARGO_TARGET_DIR": str(harness.CACHE.parent / "rust"), "RUST_BACKTRACE": "0",
    "TEST_INTEGRATION": "1", "TEST_BROKER_IMPL": "kafka", "KAFKA_CONNECT": harness.bootstrap(),
}


def output(*command: str, timeout: float = 120) -> str:
    done = subprocess.run(command, text=True, capture_output=True, timeout=timeout, check=False, env=ENVIRONMENT)
    if done.returncode != 0:
        raise AssertionError(f"{command[0]} exits with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def programs() -> dict[str, str]:
    """The compiled tests, by the name of their file."""
    messages = output("cargo", "test", "--locked", "--no-run", "--message-format", "json", "--manifest-path", str(MANIFEST))
    artifacts = [json.loads(line) for line in messages.splitlines()]
    return {a["target"]["name"]: a["executable"] for a in artifacts if a.get("executable") and a["target"]["kind"] == ["test"]}


def run(program: str, test: str) -> None:
    """Runs a test; its authors give each step ten seconds, so it may have a second try."""
    command = [program, "--exact", test]
    try:
        output(*command)
    except (AssertionError, subprocess.TimeoutExpired):
        output(*command)


def version() -> str:
    (found,) = re.findall(r'^rskafka = "=(.*)"$', MANIFEST.read_text(), re.MULTILINE)
    return found


if __name__ == "__main__":
    listed = [line.split()[0] for line in (HERE / "allow").read_text().splitlines() if line and not line.startswith("#")]
    unknown = []
    for file, program in programs().items():
        for test in re.findall(r"^(\S+): test$", output(program, "--list"), re.MULTILINE):
            name = f"{file}::{test}"
            harness.add(name, lambda program=program, test=test: run(program, test))
            if not any(fnmatch.fnmatch(name, pattern) for pattern in listed):
                unknown.append(name)
    harness.main("rskafka", version())
    for name in unknown:
        harness.report(check=name, result="fail", detail="the allow list does not name it")
