"""Runs every check and prints one JSON line for each."""

import json
import os
import sys
import traceback

from . import Unsupported, deadline
from .env import Env
from .scenarios import SCENARIOS

# Bounds a check, every step of which waits for a condition.
CHECK_TIMEOUT = 90.0
MAX_DETAIL = 500


def report(**line) -> None:
    print(json.dumps(line), flush=True)


def last_step(e: Exception) -> str:
    """The line of the scenario that e came from."""
    for frame in reversed(traceback.extract_tb(e.__traceback__)):
        if frame.filename.endswith(("scenarios.py", "transactions.py")) and frame.name != "equal":
            return f"[{frame.name}: {frame.line}]"
    return ""


def outcome(env: Env, scenario) -> dict:
    deadline.reset(CHECK_TIMEOUT)
    try:
        scenario(env)
    except Unsupported:
        return {"result": "unsupported"}
    except Exception as e:
        return {"result": "fail", "detail": f"{type(e).__name__}: {e} {last_step(e)}"[:MAX_DETAIL]}
    finally:
        env.close()
    return {"result": "pass"}


def main(client: str, version: str, connect) -> None:
    """Runs the checks with the adapter that connect(bootstrap) returns."""
    try:
        bootstrap, prefix = os.environ["COMPAT_BOOTSTRAP"], os.environ["COMPAT_PREFIX"]
    except KeyError as e:
        sys.exit(f"{e} must be set")
    report(client=client, version=version)
    adapter = connect(bootstrap)
    for name, scenario in SCENARIOS.items():
        topic = f"{prefix}.{name.replace('/', '-').replace('=', '-')}"
        report(check=name, **outcome(Env(adapter, bootstrap, topic), scenario))
    sys.stdout.flush()
    os._exit(0)  # also when a check that hangs has left a thread behind
