"""Four worker processes feed a main process that saves what it has counted.

On SIGTERM the main process takes what its workers still have in hand, saves, and exits 0. Had the
signal gone to the whole group, the workers would be dead before the save.
"""

import json
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

WORKERS = 4
BATCHES = int(os.environ.get("BATCHES", "240"))
CHECKPOINTS = Path(os.environ.get("FLEET_CHECKPOINT_DIR", "checkpoints"))

told_to_go = False


def on_sigterm(_signal, _frame):
    global told_to_go
    told_to_go = True


def work(batch):
    """One batch: the sum of a range of numbers, and some time."""
    time.sleep(0.5)
    return batch, sum(range(batch * 100, (batch + 1) * 100))


def save(state):
    part = CHECKPOINTS / "state.part"
    with open(part, "w") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, CHECKPOINTS / "state.json")


def restore():
    newest = CHECKPOINTS / "state.json"
    if not newest.exists():
        return {"step": 0, "sum": 0}
    state = json.loads(newest.read_text())
    print(f"resumed from step {state['step']}", flush=True)
    return state


def main():
    CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    state = restore()
    signal.signal(signal.SIGTERM, on_sigterm)
    # Workers die of the signal, as data loaders do: only the main process handles it.
    default = (signal.SIGTERM, signal.SIG_DFL)
    with ProcessPoolExecutor(WORKERS, initializer=signal.signal, initargs=default) as pool:
        while state["step"] < BATCHES and not told_to_go:
            batches = range(state["step"], min(state["step"] + WORKERS, BATCHES))
            for _, partial in pool.map(work, batches):
                state["sum"] += partial
            state["step"] = batches.stop
            save(state)
            print(f"step {state['step']} of {BATCHES}", flush=True)
    if state["step"] < BATCHES:
        print(f"saved at {state['step']} and leaving", flush=True)
        return 0
    expected = sum(range(BATCHES * 100))
    print(f"sum {state['sum']}, expected {expected}", flush=True)
    return 0 if state["sum"] == expected else 1


if __name__ == "__main__":
    sys.exit(main())
