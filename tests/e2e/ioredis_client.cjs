// ioredis, unmodified: what an application does with it. Run by node_clients_test.py.
'use strict';
const assert = require('node:assert/strict');
const fs = require('node:fs');
const { test, before, after, beforeEach } = require('node:test');
const Redis = require('ioredis');

const port = Number(process.env.ATOLL_PORT);
// Over TLS where there is an authority: its file, the client's certificate and key.
const files = (process.env.ATOLL_TLS_FILES || '').split(':').filter((name) => name);
const [ca, cert, key] = files.map((name) => fs.readFileSync(name));
const server = { host: '127.0.0.1', port, tls: ca && { ca, cert, key } };
let client;

before(async () => {
  client = new Redis({ ...server, maxRetriesPerRequest: 1, connectionName: 'e2e' });
  await client.ping();
});
after(() => client.quit());
beforeEach(() => client.flushall());

test('the ready check and the connection name', async () => {
  assert.equal(client.status, 'ready');
  assert.equal(await client.client('GETNAME'), 'e2e');
});

test('strings, counters and buffers', async () => {
  assert.equal(await client.set('k', 'v', 'EX', 100, 'NX'), 'OK');
  assert.equal(await client.set('k', 'v', 'NX'), null);
  assert.equal(await client.get('k'), 'v');
  assert.ok((await client.ttl('k')) > 90);
  assert.equal(await client.incrby('n', 5), 5);
  assert.equal(await client.incrbyfloat('f', 1.5), '1.5');
  const bytes = Buffer.from([0, 13, 10, 255]);
  await client.set('b', bytes);
  assert.deepEqual(await client.getBuffer('b'), bytes);
  assert.deepEqual(await client.mget('k', 'none'), ['v', null]);
});

test('pipelines and transactions', async () => {
  const replies = await client.pipeline().set('a', 1).incr('a').get('a').incr('text').exec();
  assert.deepEqual(replies, [[null, 'OK'], [null, 2], [null, '2'], [null, 1]]);
  const results = await client.multi().set('t', 1).incr('t').exec();
  assert.deepEqual(results, [[null, 'OK'], [null, 2]]);
  await client.watch('t');
  const other = client.duplicate();
  await other.set('t', 10);
  assert.equal(await client.multi().set('t', 11).exec(), null);
  await other.quit();
});

test('automatic pipelining', async () => {
  const auto = new Redis({ ...server, enableAutoPipelining: true });
  await Promise.all(Array.from({ length: 500 }, (_, i) => auto.set(`auto:${i}`, i)));
  const values = await Promise.all(Array.from({ length: 500 }, (_, i) => auto.get(`auto:${i}`)));
  assert.deepEqual(values, Array.from({ length: 500 }, (_, i) => String(i)));
  await auto.quit();
});

test('a scan stream sees every key', async () => {
  await client.mset(Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`s:${i}`, 'x'])));
  const found = new Set();
  for await (const keys of client.scanStream({ match: 's:*', count: 100 })) {
    keys.forEach((key) => found.add(key));
  }
  assert.equal(found.size, 1000);
});

test('errors reach the caller', async () => {
  await client.set('k', 'text');
  await assert.rejects(client.incr('k'), /not an integer/);
  await assert.rejects(client.call('NOSUCH'), /unknown command/);
});

test('key prefixes and databases', async () => {
  const prefixed = new Redis({ ...server, db: 3, keyPrefix: 'app:' });
  await prefixed.set('k', 'v');
  await client.select(3);
  assert.equal(await client.get('app:k'), 'v');
  await client.select(0);
  await prefixed.quit();
});
