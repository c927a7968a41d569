// The loop of every client for Node.js: one JSON line for each step, again and again.
import { setTimeout } from "node:timers/promises";

const PAUSE = 1000;

/** `run` gives the credential's public name, where the client knows it; `refusal` tells whether an error is the SDK's own word for a denied call. */
export async function loop(...steps) {
  for (;;) {
    for (const { name, run, refusal } of steps) {
      const line = { step: name, ok: false, key: "", error: "" };
      try {
        line.key = (await run()) ?? "";
        line.ok = !refusal;
      } catch (error) {
        line.error = `${error.name}: ${error.message}`;
        line.ok = Boolean(refusal?.(error));
      }
      process.stdout.write(`${JSON.stringify(line)}\n`);
    }
    await setTimeout(PAUSE);
  }
}
