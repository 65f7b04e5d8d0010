// One eureka-js-client in a process of its own, so that it can be killed. It is
// told what to do by lines, and answers each with one line of JSON:
//
//   stdin   start | look | stop
//   stdout  {"ok": …} | {"error": "…"}
//
// The argument is what Client takes, as JSON; its urls are those of the nodes.
// The process ends when its stdin does, so it never outlives who started it.

import { createInterface } from 'node:readline';

import { Client } from './client.js';

const options = JSON.parse(process.argv[2]);
const client = new Client(options);

const commands = {
  start: () => client.start(),
  stop: () => client.stop(),
  look: () => ({
    registered: client.registered,
    heartbeats: client.heartbeats,
    deregistered: client.deregistered,
    instances: client.all(),
    vip: client.seesVip(options.instance.vipAddress).map((seen) => seen.instanceId),
    complaints: client.complaints(),
  }),
};

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = { ok: await commands[line]() ?? null };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
