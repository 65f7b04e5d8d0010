// A registryd cluster in one real process, and what plain HTTP tells of it.

import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { access } from 'node:fs/promises';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';

import { until, within } from './until.js';

const BINARY = process.env.INTEROP_REGISTRYD
  ?? fileURLToPath(new URL('../../bin/registryd', import.meta.url));

// Ports are taken below the range that systems give to outgoing connections.
const PORTS = { from: 20_000, to: 30_000 };

const STARTS = 5; // tries, each on other ports, when another program took one meanwhile
const READY = 30_000; // ms from the start until all nodes are ready
const EXIT = 30_000; // ms from SIGTERM until the process is gone
const REQUEST = 5_000; // ms for one HTTP request
const LOG_LINES = 400; // kept of the process's output
const TAIL = 60; // of them printed with a failure

// Cluster is `registryd dev` with three nodes on consecutive ports. Nodes are
// numbered from 1.
export class Cluster {
  #process;
  #log = [];
  #exited; // resolves to {code, signal}
  #end = null; // what #exited resolved to
  #base;

  // start returns a cluster whose nodes are all ready.
  static async start(nodes = 3) {
    await access(BINARY).catch(() => {
      throw new Error(`no registryd at ${BINARY}: run "make build" first`);
    });
    for (let attempt = 1; ; attempt++) {
      const cluster = new Cluster();
      try {
        await cluster.#launch(nodes, await freePorts(nodes));
        return cluster;
      } catch (error) {
        cluster.kill();
        const portTaken = /address already in use/i.test(cluster.#log.join('\n'));
        if (!portTaken || attempt === STARTS) throw cluster.explain(error);
      }
    }
  }

  async #launch(nodes, base) {
    this.#base = base;
    const args = [
      'dev',
      '--nodes', String(nodes),
      '--listen', `127.0.0.1:${base}`,
      '--instances', '0',
      '--embedded-listen', '127.0.0.1:0',
    ];
    this.#note(`$ ${BINARY} ${args.join(' ')}`);
    // Flags can come from the environment too; those of the caller's shell stay out.
    const env = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !name.startsWith('REGISTRYD_')),
    );
    this.#process = spawn(BINARY, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#exited = new Promise((resolve) => {
      this.#process.once('error', (error) => resolve({ code: null, signal: String(error) }));
      this.#process.once('close', (code, signal) => resolve({ code, signal }));
    }).then((end) => {
      this.#note(`(the process ended: code ${end.code}, signal ${end.signal})`);
      this.#end = end;
      return end;
    });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      let rest = '';
      stream.setEncoding('utf8');
      stream.on('data', (chunk) => {
        const lines = (rest + chunk).split('\n');
        rest = lines.pop();
        lines.forEach((line) => this.#note(line));
      });
      stream.on('end', () => rest && this.#note(rest));
    }
    for (let node = 1; node <= nodes; node++) {
      await this.until(
        `node ${node} is ready`,
        () => this.request(node, 'GET', '/readyz'),
        (answer) => answer.status === 200,
        READY,
      );
    }
  }

  #note(line) {
    this.#log.push(line);
    if (this.#log.length > LOG_LINES) this.#log.shift();
  }

  port(node) {
    return this.#base + node - 1;
  }

  // request returns {status, body} of one call to a node.
  async request(node, method, path) {
    const answer = await fetch(`http://127.0.0.1:${this.port(node)}${path}`, {
      method,
      headers: { Accept: 'application/json' },
      signal: AbortSignal.timeout(REQUEST),
    });
    return { status: answer.status, body: await answer.text() };
  }

  // apps returns all instances that a node lists, as {"APP/id": instance}.
  async apps(node) {
    const answer = await this.request(node, 'GET', '/eureka/v2/apps/');
    if (answer.status !== 200) throw new Error(`apps: ${answer.status} ${answer.body}`);
    const instances = JSON.parse(answer.body).applications.application.flatMap((app) => app.instance);
    return Object.fromEntries(
      instances.map((instance) => [`${instance.app}/${instance.instanceId ?? instance.hostName}`, instance]),
    );
  }

  // instance returns one instance as a node knows it, or null.
  async instance(node, app, id) {
    const answer = await this.request(node, 'GET', `/eureka/v2/apps/${app}/${encodeURIComponent(id)}`);
    if (answer.status === 404) return null;
    if (answer.status !== 200) throw new Error(`instance: ${answer.status} ${answer.body}`);
    return JSON.parse(answer.body).instance;
  }

  // until waits for a condition; it gives up when the process ends.
  until(what, probe, holds, deadline) {
    const alive = () => {
      if (this.#end) throw new Error(`${what}: registryd is gone`);
    };
    return until(what, probe, holds, { deadline, alive });
  }

  // explain returns error with the end of the process's log added to what is printed.
  explain(error) {
    const tail = this.#log.slice(-TAIL).map((line) => `  | ${line}`).join('\n');
    error.stack += `\nregistryd's last lines:\n${tail}`;
    return error;
  }

  // stop sends SIGTERM and returns how the process ended, as {code, signal}.
  async stop() {
    this.#process.kill('SIGTERM');
    return within('registryd ends after SIGTERM', this.#exited, EXIT);
  }

  // kill ends the process if it still runs. It may be called at any time.
  kill() {
    if (this.#process && !this.#end) this.#process.kill('SIGKILL');
  }
}

// freePorts returns the first of n consecutive ports that nobody listens on.
async function freePorts(n) {
  for (let attempt = 0; attempt < 100; attempt++) {
    const base = randomInt(PORTS.from, PORTS.to - n);
    const ports = Array.from({ length: n }, (_, i) => base + i);
    const free = await Promise.all(ports.map(isFree));
    if (free.every(Boolean)) return base;
  }
  throw new Error(`no ${n} consecutive free ports between ${PORTS.from} and ${PORTS.to}`);
}

function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
