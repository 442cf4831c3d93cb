// rate-limiter-flexible, unmodified, over ioredis and over redis: its script and its transactions.
// Run by node_clients_test.py.
'use strict';
const assert = require('node:assert/strict');
const { test, before, after, beforeEach } = require('node:test');
const { setTimeout: sleep } = require('node:timers/promises');
const Redis = require('ioredis');
const { createClient } = require('redis');
const { BurstyRateLimiter, RateLimiterQueue, RateLimiterRedis, RateLimiterRes, RateLimiterUnion } =
  require('rate-limiter-flexible');

const port = Number(process.env.ATOLL_PORT);
let io;
let node;

before(async () => {
  io = new Redis({ port });
  node = createClient({ socket: { port }, RESP: 3 });
  await node.connect();
});
after(async () => {
  await io.quit();
  await node.close();
});
beforeEach(() => io.flushall());

const KINDS = {
  ioredis: (options) => new RateLimiterRedis({ storeClient: io, ...options }),
  redis: (options) => new RateLimiterRedis({ storeClient: node, useRedisPackage: true, ...options }),
};

/** How many of `count` calls, all at once, were let through. */
async function letThrough(limiters, key, count) {
  const calls = Array.from({ length: count }, (_, i) => limiters[i % limiters.length].consume(key));
  const results = await Promise.allSettled(calls);
  for (const refused of results.filter((result) => result.status === 'rejected')) {
    assert.ok(refused.reason instanceof RateLimiterRes, String(refused.reason));
  }
  return results.filter((result) => result.status === 'fulfilled').length;
}

for (const [kind, limiter] of Object.entries(KINDS)) {
  test(`${kind}: points are counted, and come back with time`, async () => {
    const limit = limiter({ keyPrefix: 'p', points: 3, duration: 1 });
    const first = await limit.consume('u');
    assert.deepEqual([first.consumedPoints, first.remainingPoints, first.isFirstInDuration],
      [1, 2, true]);
    assert.ok(first.msBeforeNext > 500 && first.msBeforeNext <= 1000);
    assert.equal((await limit.consume('u', 2)).remainingPoints, 0);
    const refused = await limit.consume('u').catch((reason) => reason);
    assert.ok(refused instanceof RateLimiterRes);
    assert.equal(refused.consumedPoints, 4);
    assert.equal((await limit.consume('other')).remainingPoints, 2);
    await sleep(refused.msBeforeNext + 20);
    assert.equal(await limit.get('u'), null);
    assert.equal((await limit.consume('u')).consumedPoints, 1);
  });

  test(`${kind}: penalties, rewards, blocks`, async () => {
    const limit = limiter({ keyPrefix: 'p', points: 5, duration: 60, blockDuration: 30 });
    await limit.consume('u', 2);
    assert.equal((await limit.penalty('u', 2)).consumedPoints, 4);
    assert.equal((await limit.reward('u', 3)).consumedPoints, 1);
    assert.equal((await limit.get('u')).remainingPoints, 4);
    await limit.block('u', 100);
    const blocked = await limit.consume('u').catch((reason) => reason);
    assert.ok(blocked.msBeforeNext > 90_000);
    assert.equal(await limit.delete('u'), true);
    assert.equal(await limit.delete('u'), false);
    await assert.rejects(limit.consume('u', 6), (reason) => reason.msBeforeNext === 30_000);
    await limit.set('u', 4, 0);
    assert.equal(await io.ttl('p:u'), -1);
    assert.equal((await limit.consume('u')).remainingPoints, 0);
  });

  test(`${kind}: without a duration points never come back`, async () => {
    const limit = limiter({ keyPrefix: 'p', points: 2, duration: 0 });
    assert.equal(await letThrough([limit], 'u', 10), 2);
    assert.equal(await io.ttl('p:u'), -1);
  });
}

test('many clients at once: as many as the limit are let through', async () => {
  const clients = Array.from({ length: 6 }, () => new Redis({ port }));
  const limiters = clients.map((storeClient) => new RateLimiterRedis(
    { storeClient, keyPrefix: 'many', points: 50, duration: 60 }));
  limiters.push(KINDS.redis({ keyPrefix: 'many', points: 50, duration: 60 }));
  for (const key of ['a', 'b', 'c', 'd']) {
    const half = letThrough(limiters, key, 200);
    await io.script('FLUSH'); // meanwhile: clients send it again
    assert.equal(await half, 50, key);
    assert.equal(await io.get(`many:${key}`), '200');
  }
  await Promise.all(clients.map((client) => client.quit()));
});

test('a burst, a union, a queue', async () => {
  const burst = new BurstyRateLimiter(
    KINDS.ioredis({ keyPrefix: 'slow', points: 2, duration: 60 }),
    KINDS.ioredis({ keyPrefix: 'burst', points: 3, duration: 60 }));
  assert.equal(await letThrough([burst], 'u', 20), 5);
  const union = new RateLimiterUnion(KINDS.ioredis({ keyPrefix: 'second', points: 1, duration: 1 }),
    KINDS.redis({ keyPrefix: 'minute', points: 10, duration: 60 }));
  await union.consume('u');
  const refused = await union.consume('u').catch((reason) => reason);
  assert.deepEqual(Object.keys(refused), ['second']);
  const queue = new RateLimiterQueue(KINDS.redis({ keyPrefix: 'queue', points: 5, duration: 1 }));
  const begin = Date.now();
  await Promise.all(Array.from({ length: 12 }, () => queue.removeTokens(1)));
  assert.ok(Date.now() - begin > 1500);
});
