// The npm package redis (node-redis) over RESP3, unmodified. Run by node_clients_test.py.
'use strict';
const assert = require('node:assert/strict');
const { test, before, after, beforeEach } = require('node:test');
const { createClient, createClientPool, defineScript, RESP_TYPES, WatchError } = require('redis');

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

test('collections, in the types of RESP3', async () => {
  await client.hSet('h', { a: '1', b: 'text' });
  assert.deepEqual({ ...await client.hGetAll('h') }, { a: '1', b: 'text' });
  await client.sAdd('s', ['a', 'b']);
  assert.deepEqual((await client.sMembers('s')).sort(), ['a', 'b']);
  const sets = client.withTypeMapping({ [RESP_TYPES.SET]: Set });
  assert.deepEqual(await sets.sMembers('s'), new Set(['a', 'b']));
  const maps = client.withTypeMapping({ [RESP_TYPES.MAP]: Map });
  assert.deepEqual(await maps.hGetAll('h'), new Map([['a', '1'], ['b', 'text']]));
  await client.zAdd('z', [{ score: 2.5, value: 'b' }, { score: -Infinity, value: 'a' }]);
  assert.deepEqual(await client.zRangeWithScores('z', 0, -1),
    [{ value: 'a', score: -Infinity }, { value: 'b', score: 2.5 }]);
  assert.equal(await client.zScore('z', 'b'), 2.5);
  assert.deepEqual(await client.zPopMin('z'), { value: 'a', score: -Infinity });
  await client.rPush('l', ['1', '2', '3']);
  assert.deepEqual(await client.lPopCount('l', 2), ['1', '2']);
  assert.equal(await client.lPos('l', '3'), 0);
  assert.equal(await client.hRandField('none'), null);
});

test('scripts as commands', async () => {
  const scripted = createClient({ socket, RESP: 3, scripts: {
    add: defineScript({ NUMBER_OF_KEYS: 1, SCRIPT: "return redis.call('incrby', KEYS[1], ARGV[1])",
      parseCommand: (parser, key, by) => { parser.pushKey(key); parser.push(String(by)); },
      transformReply: (reply) => reply }) } });
  await scripted.connect();
  assert.equal(await scripted.add('n', 5), 5);
  await client.scriptFlush();
  assert.equal(await scripted.add('n', 5), 10);
  assert.deepEqual(await scripted.multi().add('n', 1).get('n').exec(), [11, '11']);
  assert.equal(await client.eval("redis.setresp(3) return {double = 1.5}", {}), 1.5);
  assert.deepEqual({ ...await client.eval("redis.setresp(3) return redis.call('hgetall', KEYS[1])",
    { keys: ['none'] }) }, {});
  await scripted.close();
});

test('messages arrive beside replies', async () => {
  const heard = [];
  await client.subscribe('news', (text) => heard.push(text));
  await client.pSubscribe('n*', (text, channel) => heard.push(`${channel}:${text}`));
  await client.sSubscribe('shard', (text) => heard.push(text));
  assert.equal(await client.publish('news', 'x'), 2);
  assert.equal(await client.sPublish('shard', 'y'), 1);
  assert.equal(await client.set('k', 'v'), 'OK');
  assert.deepEqual(heard.sort(), ['news:x', 'x', 'y']);
  await client.unsubscribe('news');
  await client.pUnsubscribe('n*');
  await client.sUnsubscribe('shard');
});

test('a pool: who waits does not hold up the others', async () => {
  const pool = createClientPool({ socket, RESP: 3 }, { minimum: 1, maximum: 4 });
  await pool.connect();
  const waiting = [pool.blPop('q', 10), pool.blPop('q', 10), pool.bzPopMax('z', 10)];
  assert.equal(await pool.set('k', 'v'), 'OK');
  await pool.rPush('q', ['1', '2']);
  await pool.zAdd('z', [{ score: 1, value: 'a' }, { score: 2, value: 'b' }]);
  const [first, second, greatest] = await Promise.all(waiting);
  assert.deepEqual([first.element, second.element].sort(), ['1', '2']);
  assert.deepEqual(greatest, { key: 'z', value: 'b', score: 2 });
  const sum = await pool.execute(async (own) => {
    await own.watch('k');
    return own.multi().set('k', '1').incr('k').exec();
  });
  assert.deepEqual(sum, ['OK', 2]);
  await pool.close();
});
