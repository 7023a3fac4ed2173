"""What the judges written in Python share: checks that report one JSON line each, and programs of Java.

A check is a function that raises to fail. Names are those of the allow list; main runs what COMPAT_TESTS asks for, two at a
time: most of a check is waiting.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time

CACHE = pathlib.Path(__file__).resolve().parents[2] / ".cache" / "compat" / "judges"
MAX_DETAIL = 1500

# The package of Kafka's tools.
TOOLS = "org.apache.kafka.tools."

# Small programs that end at once: no second compiler, no second collector, nothing said of the archive of classes.
JAVA = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xlog:disable"]

AT_ONCE = 2

_checks, _alone = {}, set()


def check(function):
    """Makes a function a check of the same name, with - for _."""
    add(function.__name__.replace("_", "-"), function)
    return function


def add(name: str, function) -> None:
    _checks[name] = function


def alone(function):
    """Makes a function a check that looks at more than its own topics and groups, and runs when no other does."""
    _alone.add(function)
    return check(function)


def report(**line) -> None:
    print(json.dumps(line), flush=True)


def main(client: str, version: str) -> None:
    """Runs the checks that are asked for, in the order in which they are written."""
    report(client=client, version=version)
    asked = os.environ["COMPAT_TESTS"].split()
    run = [name for name in _checks if name in asked]
    for at_once, names in (
        (AT_ONCE, [name for name in run if _checks[name] not in _alone]),
        (1, [name for name in run if _checks[name] in _alone]),
    ):
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            for done in concurrent.futures.as_completed([pool.submit(outcome, name) for name in names]):
                report(**done.result())


def outcome(name: str) -> dict:
    try:
        _checks[name]()
    except Exception as e:  # whatever went wrong, the other checks still run
        return {"check": name, "result": "fail", "detail": f"{type(e).__name__}: {e}"[-MAX_DETAIL:]}
    return {"check": name, "result": "pass"}


def bootstrap() -> str:
    return os.environ["COMPAT_BOOTSTRAP"]


def topic(name: str) -> str:
    """A name that only this run has."""
    return f"{os.environ['COMPAT_PREFIX']}.{name}"


def equal(what: str, got, want) -> None:
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def matches(text: str, *patterns: str) -> None:
    """Each pattern is found in the text."""
    for pattern in patterns:
        if not re.search(pattern, text, re.MULTILINE):
            raise AssertionError(f"no {pattern!r} in:\n{text}")


def java_command(main_class: str, *args, options=(), home: str = "java") -> list[str]:
    """How to run a class of the Kafka that the install of a judge put together, judges/java unless told."""
    return _java_command(f"-XX:SharedArchiveFile={archive(home)}", *options, home=home) + [main_class, *map(str, args)]


def _java_command(*options, home: str) -> list[str]:
    return [*JAVA, *options, "-cp", f"{CACHE}/{home}/lib/*"]


def archive(home: str) -> pathlib.Path:
    """Where classes lie as Java has them in memory, which spares a tool half of its time; Java goes without if they do not fit."""
    return CACHE / home / "classes.jsa"


def share_classes(main_class: str, *args) -> None:
    """Makes the archive of judges/java, unless there is one, of what a class loads that does a little of everything."""
    made = archive("java").with_suffix(f".{os.getpid()}")  # judges run at the same time
    if archive("java").exists():
        return
    command = _java_command(f"-XX:ArchiveClassesAtExit={made}", home="java") + [main_class, *map(str, args)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=90, check=True)
    made.rename(archive("java"))


def java(main_class: str, *args, stdin: str = "", timeout: float = 90, fails: bool | None = False) -> str:
    """Runs a class to its end and returns what it printed, both outputs; it must succeed, or fail if that is wanted, or may do
    either if fails is None."""
    done = subprocess.run(
        java_command(main_class, *args), input=stdin, text=True, timeout=timeout, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    if fails is not None and (done.returncode != 0) != fails:
        raise AssertionError(f"{main_class} {args} exits with {done.returncode}:\n{done.stdout}")
    return done.stdout


def tool(name: str, *args, **options) -> str:
    """Runs one of Kafka's tools against the broker, as java does."""
    return java(TOOLS + name, "--bootstrap-server", bootstrap(), *args, **options)


def consume(t: str, count: int, *args, timeout_ms: int = 30000) -> list[str]:
    """What a console consumer prints of the first records of a topic."""
    out = tool("consumer.ConsoleConsumer", "--topic", t, "--from-beginning", "--max-messages", count, "--timeout-ms", timeout_ms, *args)
    return [line for line in out.splitlines() if not line.startswith(("Processed a total", "The consumer rebalance"))]


@contextlib.contextmanager
def running(name: str, *args):
    """A tool that runs beside the block, which is given its process, and is killed at its end."""
    command = java_command(TOOLS + name, "--bootstrap-server", bootstrap(), *args)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def events(lines):
    """The JSON objects among the lines that a verifiable client prints, as it prints them; each has a name."""
    for line in lines:
        if line.startswith("{"):
            yield json.loads(line)


def java_version(home: str = "java") -> str:
    (jar,) = (CACHE / home / "lib").glob("kafka-clients-*.jar")
    return jar.stem.removeprefix("kafka-clients-")


def await_that(what: str, condition, seconds: float = 150):
    """Polls until the condition returns something, and returns that."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s in vain until {what}")
        time.sleep(0.2)
    return value


if sys.version_info < (3, 10):
    sys.exit("this needs Python 3.10")
