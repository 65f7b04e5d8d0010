// Waiting for conditions, never for time: each wait has a deadline, and says
// what it saw last when that passes.

import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';

// DEADLINE is how long one condition may take, in milliseconds. It is far above
// what a healthy cluster needs (the batching delay and a round trip), so that a
// busy machine passes too. INTEROP_DEADLINE_MS sets another.
export const DEADLINE = Number(process.env.INTEROP_DEADLINE_MS ?? 20_000);

// STEP is the pause between two looks, in milliseconds.
const STEP = 50;

// until looks with probe() again and again until holds(seen) is true, and
// returns what it saw then. A probe that throws has seen its error. alive()
// throws when there is no use in waiting on, for example since a process ended.
export async function until(what, probe, holds, { deadline = DEADLINE, alive = () => {} } = {}) {
  const end = Date.now() + deadline;
  for (;;) {
    let seen;
    try {
      seen = await probe();
      if (holds(seen)) return seen;
    } catch (error) {
      seen = error;
    }
    alive();
    if (Date.now() >= end) {
      throw new Error(`${what}: not within ${deadline} ms; last seen: ${show(seen)}`);
    }
    await sleep(STEP);
  }
}

// within is promise, or an error when it takes longer than deadline milliseconds.
export async function within(what, promise, deadline = DEADLINE) {
  const done = new AbortController();
  const late = sleep(deadline, undefined, { signal: done.signal }).then(
    () => Promise.reject(new Error(`${what}: not within ${deadline} ms`)),
    () => {},
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    done.abort();
  }
}

function show(value) {
  return inspect(value, { depth: 6, breakLength: 120, maxStringLength: 2_000 });
}
