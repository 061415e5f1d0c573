"""A training loop in plain Python: gradient descent on a straight line, half a second a step.

It keeps three promises that make a task survive losing its machine:
it saves after every step, whole or not at all (write beside, then rename);
it starts from what it finds in FLEET_CHECKPOINT_DIR;
on SIGTERM it finishes the step in hand, saves, and exits 0.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

STEPS = int(os.environ.get("STEPS", "70"))
STEP_SECONDS = float(os.environ.get("STEP_SECONDS", "0.5"))
CHECKPOINTS = Path(os.environ.get("FLEET_CHECKPOINT_DIR", "checkpoints"))
OUTPUT = Path(os.environ.get("FLEET_OUTPUT_DIR", "output"))
DATA = [(x / 10, 3.0 * x / 10 - 1.0) for x in range(-20, 21)]

told_to_go = False


def on_sigterm(_signal, _frame):
    global told_to_go
    told_to_go = True


def write_whole(path, state):
    """A reader sees the old file or the new one, never half of one."""
    part = path.with_suffix(".part")
    with open(part, "w") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def restore():
    newest = CHECKPOINTS / "state.json"
    if not newest.exists():
        return {"step": 0, "weight": 0.0, "bias": 0.0}
    state = json.loads(newest.read_text())
    print(f"resumed from step {state['step']}", flush=True)
    return state


def train_one_step(state):
    began = time.monotonic()
    batch = random.Random(state["step"]).sample(DATA, 8)
    errors = [(state["weight"] * x + state["bias"] - y, x) for x, y in batch]
    state["weight"] -= 0.05 * sum(e * x for e, x in errors) / len(errors)
    state["bias"] -= 0.05 * sum(e for e, _ in errors) / len(errors)
    state["step"] += 1
    state["loss"] = sum(e * e for e, _ in errors) / len(errors)
    time.sleep(max(0.0, STEP_SECONDS - (time.monotonic() - began)))


def main():
    signal.signal(signal.SIGTERM, on_sigterm)
    CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    state = restore()
    while state["step"] < STEPS and not told_to_go:
        train_one_step(state)
        write_whole(CHECKPOINTS / "state.json", state)
        print(f"step {state['step']} of {STEPS}, loss {state['loss']:.5f}", flush=True)
    if told_to_go and state["step"] < STEPS:
        left = os.environ.get("FLEET_PREEMPTION_DEADLINE", "soon")
        print(f"saved at {state['step']} and leaving: this machine goes ({left})", flush=True)
        return 0
    write_whole(OUTPUT / "model.json", {"weight": state["weight"], "bias": state["bias"]})
    print(f"done: y = {state['weight']:.3f} x + {state['bias']:.3f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
