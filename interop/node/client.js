// One eureka-js-client, as it comes from npm, with its events counted and its
// log kept.

import { Eureka } from 'eureka-js-client';

import { within } from './until.js';

// The library takes its proxy from the environment. The cluster is here.
process.env.NO_PROXY = '127.0.0.1';

const INTERVAL = 1_000; // ms between heartbeats, and between fetches
const LOG_LINES = 100;

export class Client {
  registered = 0;
  heartbeats = 0;
  deregistered = 0;
  #eureka;
  #log = [];

  // instance goes to the server as it is. delta: ask for changes after the first
  // full list. Either port and servicePath say where the one node's registry is,
  // or urls lists the apps/ of several nodes: then the library goes on with the
  // next one when one fails.
  constructor({ port, servicePath, urls, delta, instance }) {
    this.app = instance.app;
    this.id = instance.instanceId ?? instance.hostName;
    const keep = (level) => (...args) => {
      this.#log.push([level, ...args].join(' '));
      if (this.#log.length > LOG_LINES) this.#log.shift();
    };
    this.#eureka = new Eureka({
      logger: { debug: () => {}, info: keep('info'), warn: keep('warn'), error: keep('error') },
      shouldUseDelta: delta,
      instance,
      eureka: {
        heartbeatInterval: INTERVAL,
        registryFetchInterval: INTERVAL,
        ...(urls
          ? { serviceUrls: { default: urls } }
          : { host: '127.0.0.1', port, servicePath, maxRetries: 0 }), // a 5xx is seen, not hidden by another try
      },
    });
    for (const event of ['registered', 'heartbeat', 'deregistered']) {
      const counter = event === 'heartbeat' ? 'heartbeats' : event;
      this.#eureka.on(event, () => { this[counter]++; });
    }
  }

  start() {
    return this.#call('start');
  }

  // stop ends the timers and deregisters.
  stop() {
    return this.#call('stop');
  }

  // abandon ends the timers and tells nobody, as a crash would.
  abandon() {
    clearInterval(this.#eureka.heartbeat);
    clearInterval(this.#eureka.registryFetch);
  }

  #call(method) {
    const done = new Promise((resolve, reject) => {
      this.#eureka[method]((error) => (error ? reject(error) : resolve()));
    });
    return within(`${this.app}: ${method}`, done);
  }

  // sees returns the instances of an application in the client's own cache.
  sees(app) {
    return this.#eureka.cache.app[app] ? this.#eureka.getInstancesByAppId(app) : [];
  }

  // seesVip returns the instances of a virtual address in the client's own cache.
  seesVip(vip) {
    return this.#eureka.cache.vip[vip] ? this.#eureka.getInstancesByVipAddress(vip) : [];
  }

  // all returns every instance in the client's own cache.
  all() {
    return Object.values(this.#eureka.cache.app).flat();
  }

  // complaints returns the warnings and errors that the client logged.
  complaints() {
    return this.#log.filter((line) => !line.startsWith('info '));
  }
}
