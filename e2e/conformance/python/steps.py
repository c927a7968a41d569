# The loop of every Python client; a client's program follows it in one script.
import json
import time

PAUSE = 1


def loop(*steps):
    """Runs (name, call, denial) again and again, one JSON line each. `call` gives the credential's public name, where the client knows
    it; `denial` tells whether an error is the SDK's own word for a denied call."""
    while True:
        for name, call, denial in steps:
            line = {"step": name, "ok": False, "key": "", "error": ""}
            try:
                line["key"] = call() or ""
                line["ok"] = denial is None
            except Exception as error:  # noqa: BLE001 (whatever an SDK raises is what is to be seen)
                line["error"] = f"{type(error).__name__}: {error}"
                line["ok"] = denial is not None and denial(error)
            print(json.dumps(line), flush=True)
        time.sleep(PAUSE)
