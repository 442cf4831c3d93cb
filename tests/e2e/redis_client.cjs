// The npm package redis (node-redis) over RESP3, unmodified. Run by node_clients_test.py.
'use strict';
const assert = require('node:assert/strict');
const { test, before, after, beforeEach } = require('node:test');
const { createClient, RESP_TYPES, WatchError } = require('redis');

const socket = { port: Number(process.env.ATOLL_PORT), reconnectStrategy: false };
let client;

before(async () => {
  client = createClient({ socket, RESP: 3, name: 'e2e' });
  await client.connect();
});
after(() => client.close());
beforeEach(() => client.flushAll());

test('the connection speaks RESP3', async () => {
  assert.match(await client.sendCommand(['CLIENT', 'INFO']), / resp=3/);
  const hello = await client.hello();
  assert.equal(hello.proto, 3);
  assert.equal(await client.clientGetName(), 'e2e');
});

test('strings, counters and expiry', async () => {
  assert.equal(await client.set('k', 'v', { EX: 100 }), 'OK');
  assert.equal(await client.get('k'), 'v');
  assert.equal(await client.get('none'), null);
  assert.ok((await client.ttl('k')) > 90);
  assert.equal(await client.incrBy('n', 5), 5);
  assert.equal(await client.incrByFloat('f', 1.5), '1.5');
  assert.deepEqual(await client.mGet(['k', 'none']), ['v', null]);
  assert.equal(await client.getDel('k'), 'v');
  assert.equal(await client.exists('k'), 0);
});

test('binary values', async () => {
  const bytes = Buffer.from([0, 13, 10, 255]);
  await client.set('b', bytes);
  const raw = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  assert.deepEqual(await raw.get('b'), bytes);
});

test('maps of RESP3', async () => {
  const config = await client.configGet('maxmemory-policy');
  assert.equal(config['maxmemory-policy'], 'noeviction');
});

test('transactions, optimistic locks', async () => {
  assert.deepEqual(await client.multi().set('t', '1').incr('t').get('t').exec(), ['OK', 2, '2']);
  const other = client.duplicate();
  await other.connect();
  await client.watch('t');
  await other.set('t', '10');
  await assert.rejects(client.multi().set('t', '11').exec(), WatchError);
  await other.close();
});

test('concurrent commands share one pipeline', async () => {
  await Promise.all(Array.from({ length: 500 }, (_, i) => client.set(`c:${i}`, `${i}`)));
  const values = await Promise.all(Array.from({ length: 500 }, (_, i) => client.get(`c:${i}`)));
  assert.deepEqual(values, Array.from({ length: 500 }, (_, i) => `${i}`));
});

test('a scan iterator sees every key', async () => {
  await client.mSet(Array.from({ length: 1000 }, (_, i) => [`s:${i}`, 'x']));
  const found = new Set();
  for await (const keys of client.scanIterator({ MATCH: 's:*', COUNT: 100 })) {
    keys.forEach((key) => found.add(key));
  }
  assert.equal(found.size, 1000);
});

test('errors reach the caller', async () => {
  await client.set('k', 'text');
  await assert.rejects(client.incr('k'), /not an integer/);
  await assert.rejects(client.sendCommand(['NOSUCH']), /unknown command/);
});

test('databases', async () => {
  await client.select(3);
  await client.set('k', 'three');
  await client.select(0);
  assert.equal(await client.get('k'), null);
});
