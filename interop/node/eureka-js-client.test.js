// eureka-js-client 4.5.0 from npm, unmodified, against three registryd nodes:
//
//   INTEROP-A ──▶ node 1 ─┐
//   INTEROP-B ──▶ node 2 ─┼─ replication ─▶ node 3 ◀── these tests look here, by HTTP
//
// A reads full lists under /eureka/v2 and names its own id; B reads deltas under
// /eureka and leaves the id to the server, which then takes the host name. The
// tests run in order: each goes on from what the one before left.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { Client } from './client.js';
import { Cluster } from './cluster.js';

const NODE_A = 1;
const NODE_B = 2;
const THIRD = 3;

const LEASE = { renewalIntervalInSecs: 2, durationInSecs: 10 };

let cluster;
let a;
let b;
let broken; // the first step that failed

// step is a test whose failure prints what registryd and the clients said. After
// a failure the later steps fail at once, but for those that always run.
function step(name, body, { always = false } = {}) {
  test(name, async () => {
    if (broken && !always) throw notRun();
    try {
      await body();
    } catch (error) {
      broken ??= name;
      for (const client of [a, b].filter(Boolean)) {
        error.stack += `\n${client.app} complained: ${JSON.stringify(client.complaints(), null, 2)}`;
      }
      throw cluster ? cluster.explain(error) : error;
    }
  });
}

// notRun is the failure of a step after a broken one; a stack would only be noise.
function notRun() {
  const error = new Error(`not run, since this failed before: ${broken}`);
  error.stack = error.message;
  return error;
}

// onThird waits until node 3 knows a client's instance as holds wants it.
function onThird(client, what, holds) {
  return cluster.until(
    `node ${THIRD} shows ${client.app} ${what}`,
    () => cluster.instance(THIRD, client.app, client.id),
    holds,
  );
}

// inCache waits until one client's own cache holds of the other what holds wants.
function inCache(reader, other, what, holds) {
  return cluster.until(`${reader.app} sees ${other.app} ${what}`, () => reader.sees(other.app), holds);
}

// beats waits until a client's heartbeats were answered n more times with 200.
function beats(client, n) {
  const want = client.heartbeats + n;
  return cluster.until(`${want} heartbeats of ${client.app}`, () => client.heartbeats, (seen) => seen >= want);
}

function statusPath(client) {
  return `/eureka/v2/apps/${client.app}/${encodeURIComponent(client.id)}/status`;
}

const hasStatus = (status) => (instance) => instance?.status === status;
const isUp = ([instance, ...rest]) => instance?.status === 'UP' && rest.length === 0;
const isEmpty = (instances) => instances.length === 0;

process.once('exit', () => cluster?.kill());
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

after(() => {
  a?.abandon();
  b?.abandon();
  cluster?.kill();
});

step('three nodes become ready', async () => {
  cluster = await Cluster.start(3);
  a = new Client({
    port: cluster.port(NODE_A),
    servicePath: '/eureka/v2/apps/',
    delta: false,
    instance: {
      app: 'INTEROP-A',
      instanceId: 'host-a.example:interop-a:8080',
      hostName: 'host-a.example',
      ipAddr: '192.0.2.1',
      port: { $: 8080, '@enabled': true },
      vipAddress: 'interop-a.example',
      dataCenterInfo: {
        '@class': 'com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo',
        name: 'MyOwn',
      },
      leaseInfo: LEASE,
      metadata: { zone: 'eu-1', weight: 7 },
    },
  });
  b = new Client({
    port: cluster.port(NODE_B),
    servicePath: '/eureka/apps/',
    delta: true,
    instance: {
      app: 'INTEROP-B',
      hostName: 'host-b.example',
      ipAddr: '192.0.2.2',
      port: { $: '9090', '@enabled': 'true' },
      vipAddress: 'interop-b.example',
      statusPageUrl: 'http://host-b.example:9090/info',
      dataCenterInfo: {
        '@class': 'com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo',
        name: 'MyOwn',
      },
      leaseInfo: LEASE,
    },
  });
});

step('clients of two nodes register, and the third lists both as they were sent', async () => {
  await Promise.all([a.start(), b.start()]);
  assert.equal(a.registered, 1, 'registrations of A answered with 204');
  assert.equal(b.registered, 1, 'registrations of B answered with 204');

  const listed = await cluster.until(
    `node ${THIRD} lists both`,
    () => cluster.apps(THIRD),
    (apps) => Object.keys(apps).length === 2,
  );
  const listedA = listed[`INTEROP-A/${a.id}`];
  assert.equal(listedA?.status, 'UP');
  assert.equal(listedA.instanceId, 'host-a.example:interop-a:8080');
  assert.equal(listedA.ipAddr, '192.0.2.1');
  assert.deepEqual(listedA.port, { $: 8080, '@enabled': 'true' });
  assert.equal(listedA.vipAddress, 'interop-a.example');
  assert.deepEqual(listedA.metadata, { zone: 'eu-1', weight: '7' });
  assert.equal(listedA.leaseInfo.renewalIntervalInSecs, LEASE.renewalIntervalInSecs);
  assert.equal(listedA.leaseInfo.durationInSecs, LEASE.durationInSecs);
  const listedB = listed['INTEROP-B/host-b.example'];
  assert.equal(listedB?.status, 'UP');
  assert.ok(!('instanceId' in listedB), 'B sent no instanceId, so none comes back');
  assert.deepEqual(listedB.port, { $: 9090, '@enabled': 'true' });
  assert.equal(listedB.statusPageUrl, 'http://host-b.example:9090/info');
});

step('each client finds the other in its own cache', async () => {
  await Promise.all([inCache(a, b, 'UP', isUp), inCache(b, a, 'UP', isUp)]);
  assert.equal(a.seesVip('interop-b.example')[0]?.hostName, 'host-b.example');
  assert.equal(b.seesVip('interop-a.example')[0]?.hostName, 'host-a.example');
});

step('heartbeats are answered with 200 and renew the lease on the third node', async () => {
  for (const client of [a, b]) {
    const { leaseInfo } = await cluster.instance(THIRD, client.app, client.id);
    let renewed = leaseInfo.lastRenewalTimestamp;
    for (let n = 1; n <= 2; n++) {
      const later = await onThird(
        client,
        `renewed after ${renewed}`,
        (instance) => instance.leaseInfo.lastRenewalTimestamp > renewed,
      );
      renewed = later.leaseInfo.lastRenewalTimestamp;
    }
  }
  await Promise.all([beats(a, 2), beats(b, 2)]);
  // A heartbeat that gets a 404 registers again.
  assert.deepEqual([a.registered, b.registered], [1, 1], 'registrations of A and B');
});

step('a status override set through another node reaches the third and both clients', async () => {
  const answer = await cluster.request(NODE_A, 'PUT', `${statusPath(b)}?value=OUT_OF_SERVICE`);
  assert.equal(answer.status, 200);
  const seen = await onThird(b, 'OUT_OF_SERVICE', hasStatus('OUT_OF_SERVICE'));
  assert.equal(seen.overriddenStatus, 'OUT_OF_SERVICE');
  // A keeps only instances that are UP. B sees itself, as a change in its delta.
  await Promise.all([
    inCache(a, b, 'gone', isEmpty),
    inCache(b, b, 'OUT_OF_SERVICE', ([self]) => self?.status === 'OUT_OF_SERVICE'),
  ]);
});

step('heartbeats do not undo the override', async () => {
  await beats(b, 3);
  const seen = await onThird(b, 'at all', (instance) => instance !== null);
  assert.equal(seen.status, 'OUT_OF_SERVICE');
  assert.equal(b.registered, 1, 'registrations of B');
});

step('the override removed with a value is UP again everywhere', async () => {
  const answer = await cluster.request(NODE_A, 'DELETE', `${statusPath(b)}?value=UP`);
  assert.equal(answer.status, 200);
  const seen = await onThird(b, 'UP', hasStatus('UP'));
  assert.equal(seen.overriddenStatus, 'UNKNOWN');
  await Promise.all([inCache(a, b, 'UP', isUp), inCache(b, b, 'UP', isUp)]);
});

step('the override removed without a value: the next heartbeat gets 404, and the client registers again', async () => {
  const set = await cluster.request(NODE_B, 'PUT', `${statusPath(a)}?value=OUT_OF_SERVICE`);
  assert.equal(set.status, 200);
  await onThird(a, 'OUT_OF_SERVICE', hasStatus('OUT_OF_SERVICE'));
  const before = a.registered;
  const removed = await cluster.request(THIRD, 'DELETE', statusPath(a));
  assert.equal(removed.status, 200);
  await cluster.until('A registers again', () => a.registered, (seen) => seen > before);
  await onThird(a, 'UP', hasStatus('UP'));
});

step('cancelled by somebody else through another node: the client registers again', async () => {
  const before = a.registered;
  const path = `/eureka/v2/apps/${a.app}/${encodeURIComponent(a.id)}`;
  const answer = await cluster.request(NODE_B, 'DELETE', path);
  assert.equal(answer.status, 200);
  await cluster.until('A registers again', () => a.registered, (seen) => seen > before);
  await onThird(a, 'UP', hasStatus('UP'));
  await inCache(b, a, 'at all', (instances) => instances.length === 1);
});

step('a client that stops disappears from the third node and from the other client', async () => {
  await b.stop();
  assert.equal(b.deregistered, 1, 'deregistrations of B answered with 200');
  await onThird(b, 'gone', (instance) => instance === null);
  const listed = await cluster.apps(THIRD);
  assert.deepEqual(Object.keys(listed), [`INTEROP-A/${a.id}`]);
  await inCache(a, b, 'gone', isEmpty);
});

step('after the last one stops no node lists anything', async () => {
  await a.stop();
  assert.equal(a.deregistered, 1, 'deregistrations of A answered with 200');
  for (const node of [NODE_A, NODE_B, THIRD]) {
    await cluster.until(
      `node ${node} lists nothing`,
      () => cluster.apps(node),
      (apps) => Object.keys(apps).length === 0,
    );
  }
});

step('registryd ends with code 0 on SIGTERM', async () => {
  assert.ok(cluster, 'it did not start');
  assert.deepEqual(await cluster.stop(), { code: 0, signal: null });
}, { always: true });
