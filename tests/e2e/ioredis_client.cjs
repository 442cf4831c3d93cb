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

/** Until check() holds; fails when it does not in time. */
async function until(check) {
  for (const end = Date.now() + 5000; !await check();) assert.ok(Date.now() < end, String(check));
}

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

test('commands of its own, out of scripts', async () => {
  const own = new Redis({ ...server, keyPrefix: 'own:', scripts: {
    addTwice: { numberOfKeys: 2, lua: `
      redis.call('incrby', KEYS[1], ARGV[1])
      return {redis.call('incrby', KEYS[2], ARGV[1]), KEYS[1]}` } } });
  own.defineCommand('firstOf', { lua: "return redis.call('lindex', KEYS[1], 0)" });
  assert.deepEqual(await own.addTwice('a', 'b', 5), [5, 'own:a']);
  await client.script('FLUSH');
  assert.deepEqual(await own.addTwice('a', 'b', 5), [10, 'own:a']);
  const bytes = Buffer.from([0, 255]);
  await own.rpush('l', bytes);
  assert.deepEqual(await own.firstOfBuffer(1, 'l'), bytes);
  await own.set('text', 'x');
  await assert.rejects(own.addTwice('text', 'b', 5), /not an integer/);
  await own.quit();
});

// Before its first pipeline with a script a connection asks SCRIPT EXISTS, and loads what is missing.
test('commands of its own in pipelines and transactions that know no script yet', async () => {
  const plus = { numberOfKeys: 1, lua: "return redis.call('incrby', KEYS[1], ARGV[1])" };
  for (const kind of ['pipeline', 'multi']) {
    await client.script('FLUSH');
    const own = new Redis({ ...server, scripts: { plus } });
    const replies = await own[kind]().set('n', 1).plus('n', 10).plus('other', 1).get('n').exec();
    assert.deepEqual(replies, [[null, 'OK'], [null, 11], [null, 1], [null, '11']]);
    await client.del('other');
    await own.quit();
  }
  await client.script('FLUSH');
  const auto = new Redis({ ...server, enableAutoPipelining: true, scripts: { plus } });
  await Promise.all(Array.from({ length: 100 }, (_, i) => auto.plus(`sum:${i % 7}`, 1)));
  assert.equal(await auto.get('sum:0'), '15');
  await auto.quit();
});

test('a pipeline goes on behind an error, a transaction with one is not run', async () => {
  await client.set('text', 'x');
  const replies = await client.pipeline().incr('text').hset('text', 'f', 1).strlen('text').exec();
  assert.match(replies[0][0].message, /not an integer/);
  assert.match(replies[1][0].message, /^WRONGTYPE/);
  assert.deepEqual(replies[2], [null, 1]);
  await assert.rejects(client.multi().set('n', 1).call('set', 'n').exec(),
    (error) => /^EXECABORT/.test(error.message) && /wrong number/.test(error.previousErrors[0].message));
  assert.equal(await client.exists('n'), 0);
  const [first, second] = await client.multi().incr('text').incr('n').exec();
  assert.match(first[0].message, /not an integer/);
  assert.deepEqual(second, [null, 1]);
});

test('a transaction step by step', async () => {
  await client.multi({ pipeline: false });
  assert.equal(await client.incr('n'), 'QUEUED');
  assert.equal(await client.discard(), 'OK');
  await client.multi({ pipeline: false });
  await client.hset('h', { a: 1 });
  await client.hgetall('h');
  assert.deepEqual(await client.exec(), [[null, 1], [null, ['a', '1']]]);
});

test('queues that are waited for', async () => {
  const worker = client.duplicate();
  const got = (async () => {
    const items = [];
    for (let i = 0; i < 20; i++) items.push((await worker.blpop('q1', 'q2', 'q3', 10))[1]);
    return items;
  })();
  for (let i = 0; i < 20; i++) await client.rpush(`q${1 + i % 3}`, i);
  assert.deepEqual((await got).map(Number).sort((a, b) => a - b), Array.from({ length: 20 }, (_, i) => i));
  assert.equal(await worker.blpop('q1', 0.05), null);
  assert.equal(await worker.brpoplpush('q1', 'q2', 0.05), null);
  const moved = worker.blmove('from', 'to', 'LEFT', 'RIGHT', 10);
  const least = client.duplicate();
  const scored = least.bzpopmin('z', 10);
  await client.multi().rpush('from', 'x').zadd('z', 2, 'b', 1, 'a').exec();
  assert.equal(await moved, 'x');
  assert.deepEqual(await scored, ['z', 'a', '1']);
  assert.deepEqual(await client.lrange('to', 0, -1), ['x']);
  const buffers = worker.brpopBuffer('bytes', 10);
  await client.rpush('bytes', Buffer.from([0, 255]));
  assert.deepEqual(await buffers, [Buffer.from('bytes'), Buffer.from([0, 255])]);
  await least.quit();
  await worker.quit();
});

test('who has left its queue takes nothing', async () => {
  const worker = client.duplicate();
  await worker.ping();
  const waiting = worker.blpop('q', 0).catch((error) => error);
  await until(async () => /blocked_clients:1/.test(await client.info('clients')));
  worker.disconnect();
  assert.match((await waiting).message, /closed/);
  await until(async () => /blocked_clients:0/.test(await client.info('clients')));
  await client.rpush('q', 'x');
  assert.equal(await client.lpop('q'), 'x');
});

test('collections', async () => {
  await client.hset('h', new Map([['a', 1], ['b', 'text']]));
  assert.deepEqual(await client.hgetall('h'), { a: '1', b: 'text' });
  assert.deepEqual(await client.hgetall('none'), {});
  assert.deepEqual(await client.zadd('z', 'CH', 1, 'a', 2.5, 'b', '-inf', 'c'), 3);
  assert.deepEqual(await client.zrange('z', 0, -1, 'WITHSCORES'), ['c', '-inf', 'a', '1', 'b', '2.5']);
  assert.deepEqual(await client.zrangebyscore('z', '(1', '+inf'), ['b']);
  await client.sadd('s', ...Array.from({ length: 2000 }, (_, i) => `m${i}`));
  for (const [stream, each] of [['sscanStream', 1], ['hscanStream', 2], ['zscanStream', 2]]) {
    const key = stream[0];
    const expected = { s: 2000, h: 2, z: 3 }[key];
    const found = new Set();
    for await (const items of client[stream](key, { count: 100 })) {
      items.filter((_, i) => i % each === 0).forEach((item) => found.add(item));
    }
    assert.equal(found.size, expected, stream);
  }
});

test('messages, and events of keys', async () => {
  const listener = client.duplicate();
  const heard = [];
  const three = new Promise((done) => {
    listener.on('message', (channel, text) => heard.push([channel, text]));
    listener.on('pmessage', (pattern, channel, text) => heard.push([pattern, channel, text]) === 3 && done());
  });
  assert.equal(await listener.subscribe('news', 'more'), 2);
  assert.equal(await listener.psubscribe('__keyevent@0__:*'), 3);
  await assert.rejects(listener.get('k'), /subscriber mode/);
  await client.config('SET', 'notify-keyspace-events', 'KEA');
  await client.publish('news', 'first');
  await client.publish('more', 'second');
  await client.set('k', 'v');
  await three;
  await client.config('SET', 'notify-keyspace-events', '');
  assert.deepEqual(heard, [['news', 'first'], ['more', 'second'],
    ['__keyevent@0__:*', '__keyevent@0__:set', 'k']]);
  await listener.punsubscribe('__keyevent@0__:*');
  await listener.unsubscribe();
  assert.equal(await listener.get('k'), 'v');
  await listener.quit();
});

test('after a lost connection it goes on where it was', async () => {
  const lost = new Redis({ ...server, db: 2 });
  await lost.set('k', 'two');
  await lost.subscribe('news');
  const heard = new Promise((done) => lost.on('message', (channel, text) => done(text)));
  const ready = new Promise((done) => lost.once('ready', done));
  const [, id] = (await client.client('LIST', 'TYPE', 'pubsub')).match(/^id=(\d+)/);
  assert.equal(await client.client('KILL', 'ID', id), 1);
  await ready;
  await until(async () => await client.publish('news', 'again') > 0);
  assert.equal(await heard, 'again');
  await lost.unsubscribe('news');
  assert.equal(await lost.get('k'), 'two');
  await lost.quit();
});
