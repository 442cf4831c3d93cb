// The npm package redis with its client-side cache, which RESP3's invalidations keep fresh. Run by
// node_clients_test.py.
'use strict';
const assert = require('node:assert/strict');
const { once } = require('node:events');
const { test, before, after, beforeEach } = require('node:test');
const { BasicClientSideCache, BasicPooledClientSideCache, createClient, createClientPool } =
  require('redis');

const socket = { port: Number(process.env.ATOLL_PORT) };
const DEADLINE_MS = 5000;
let cache;
let near;
let writer;

before(async () => {
  cache = new BasicClientSideCache({ ttl: 0, maxEntries: 0 });
  near = createClient({ socket, RESP: 3, clientSideCache: cache });
  near.on('error', () => {}); // one test ends its connection
  writer = createClient({ socket, RESP: 3 });
  await near.connect();
  await writer.connect();
});
after(async () => {
  await near.close();
  await writer.close();
});
beforeEach(async () => {
  await writer.flushAll();
  await near.ping(); // what the flush invalidates has arrived before its reply
  cache.clear();
});

/** How often the node has run GET. */
async function gets() {
  const stats = await writer.info('commandstats');
  return Number((stats.match(/cmdstat_get:calls=(\d+)/) || [0, 0])[1]);
}

/** Runs write(), and waits for the invalidation of key that it brings; null: of everything. */
async function invalidated(key, write, of = cache) {
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const seen = (async () => {
    for (;;) {
      const [name] = await once(of, 'invalidate', { signal });
      if (key === null ? name === null : name !== null && String(name) === key) return;
    }
  })();
  await Promise.all([seen, write()]);
}

test('what is cached is not asked for again', async () => {
  await writer.set('k', 'v');
  const before = await gets();
  for (let i = 0; i < 100; i++) assert.equal(await near.get('k'), 'v');
  assert.equal(await gets() - before, 1);
  assert.equal(cache.stats().hitCount, 99);
});

// Each reads something that the writer then changes: the next read gives what is there now.
const CHANGES = {
  'SET': [() => writer.set('k', '1'), () => near.get('k'), '1', () => writer.set('k', '2'), '2'],
  'a key that is not there yet': [() => {}, () => near.get('k'), null,
    () => writer.set('k', '1'), '1'],
  'DEL': [() => writer.set('k', '1'), () => near.get('k'), '1', () => writer.del('k'), null],
  'INCR': [() => writer.set('k', '1'), () => near.get('k'), '1', () => writer.incr('k'), '2'],
  'the deadline': [() => writer.set('k', '1', { PX: 150 }), () => near.get('k'), '1',
    () => {}, null],
  'RENAME to it': [() => writer.set('j', '2'), () => near.get('k'), null,
    () => writer.rename('j', 'k'), '2'],
  'HSET': [() => writer.hSet('k', { a: '1' }), () => near.hGetAll('k'), { a: '1' },
    () => writer.hSet('k', 'b', '2'), { a: '1', b: '2' }],
  'HDEL of the last field': [() => writer.hSet('k', { a: '1' }), () => near.hGet('k', 'a'), '1',
    () => writer.hDel('k', 'a'), null],
  'RPUSH': [() => writer.rPush('k', ['1']), () => near.lRange('k', 0, -1), ['1'],
    () => writer.rPush('k', '2'), ['1', '2']],
  'SREM': [() => writer.sAdd('k', ['a', 'b']), () => near.sIsMember('k', 'a'), 1,
    () => writer.sRem('k', 'a'), 0],
  'ZINCRBY': [() => writer.zAdd('k', { score: 1, value: 'm' }), () => near.zScore('k', 'm'), 1,
    () => writer.zIncrBy('k', 2.5, 'm'), 3.5],
  'a script': [() => writer.set('k', '1'), () => near.get('k'), '1',
    () => writer.eval("redis.call('set', KEYS[1], 'scripted')", { keys: ['k'] }), 'scripted'],
  'a transaction': [() => writer.set('k', '1'), () => near.get('k'), '1',
    () => writer.multi().set('other', 'x').append('k', '1').exec(), '11'],
  'its own write': [() => writer.set('k', '1'), () => near.get('k'), '1',
    () => near.set('k', '2'), '2'],
};
for (const [name, [begin, read, first, change, second]] of Object.entries(CHANGES)) {
  test(`changed by ${name}`, async () => {
    await begin();
    assert.deepEqual(await read(), first);
    const hits = cache.stats().hitCount;
    assert.deepEqual(await read(), first);
    assert.equal(cache.stats().hitCount, hits + 1);
    await invalidated('k', change);
    assert.deepEqual(await read(), second);
  });
}

test('FLUSHALL empties it', async () => {
  await writer.set('k', '1');
  await near.get('k');
  await invalidated(null, () => writer.flushAll());
  assert.equal(cache.size(), 0);
  assert.equal(await near.get('k'), null);
});

test('keys of every thread', async () => {
  const keys = Array.from({ length: 300 }, (_, i) => `key:${i}`);
  await writer.mSet(keys.map((key) => [key, 'old']));
  const before = await gets();
  for (let round = 0; round < 3; round++) {
    const values = await Promise.all(keys.map((key) => near.get(key)));
    assert.ok(values.every((value) => value === 'old'));
  }
  assert.equal(await gets() - before, 300);
  let told = 0;
  const all = new Promise((done) => cache.on('invalidate', () => ++told === 300 && done()));
  await writer.mSet(keys.map((key) => [key, 'new']));
  await all;
  cache.removeAllListeners('invalidate');
  const values = await Promise.all(keys.map((key) => near.get(key)));
  assert.ok(values.every((value) => value === 'new'));
});

test('reads beside writes never go back, and end with the last one', async () => {
  let last = 0;
  let writing = true;
  const reads = (async () => {
    while (writing) {
      const value = Number(await near.get('n'));
      assert.ok(value >= last, `${value} after ${last}`);
      last = value;
      await new Promise(setImmediate);
    }
  })();
  for (let n = 1; n <= 2000; n++) await writer.set('n', n);
  await invalidated('n', async () => {
    await near.get('n');
    await writer.set('n', 2001);
  });
  writing = false;
  await reads;
  assert.equal(await near.get('n'), '2001');
  assert.ok(cache.stats().hitCount > 0);
});

test('a new connection begins with an empty cache, and is told again', async () => {
  await writer.set('k', '1');
  await near.get('k');
  const ready = new Promise((done) => near.once('ready', done));
  await writer.sendCommand(['CLIENT', 'KILL', 'ID', String(await near.sendCommand(['CLIENT', 'ID']))]);
  await ready;
  assert.equal(cache.size(), 0);
  await writer.set('k', '2');
  assert.equal(await near.get('k'), '2');
  await invalidated('k', () => writer.set('k', '3'));
  assert.equal(await near.get('k'), '3');
});

test('the connections of a pool share one', async () => {
  const shared = new BasicPooledClientSideCache({ ttl: 0, maxEntries: 0 });
  const pool = createClientPool({ socket, RESP: 3 },
    { clientSideCache: shared, minimum: 3, maximum: 3 });
  await pool.connect();
  await writer.set('k', '1');
  const before = await gets();
  assert.equal(await pool.get('k'), '1');
  for (let i = 0; i < 20; i++) assert.equal(await pool.get('k'), '1');
  assert.equal(await gets() - before, 1);
  await invalidated('k', () => writer.set('k', '2'), shared);
  assert.equal(await pool.get('k'), '2');
  await pool.close();
});
