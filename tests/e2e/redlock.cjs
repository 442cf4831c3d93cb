// redlock, unmodified, over ioredis: locks out of three scripts. Run by node_clients_test.py.
'use strict';
const assert = require('node:assert/strict');
const { test, before, after, beforeEach } = require('node:test');
const { setTimeout: sleep } = require('node:timers/promises');
const Redis = require('ioredis');
const { default: Redlock, ExecutionError } = require('redlock');

const server = { host: '127.0.0.1', port: Number(process.env.ATOLL_PORT) };
const ONCE = { retryCount: 0 };
let client;
let mine;
let theirs;

before(() => {
  client = new Redis(server);
  mine = new Redlock([client], ONCE);
  theirs = new Redlock([client.duplicate()], ONCE);
});
after(async () => {
  await mine.quit();
  await theirs.quit();
});
beforeEach(() => client.flushall());

test('only one holds it, until it is released', async () => {
  const lock = await mine.acquire(['lock'], 5000);
  assert.equal(await client.get('lock'), lock.value);
  assert.ok((await client.pttl('lock')) > 4000);
  await assert.rejects(theirs.acquire(['lock'], 5000), ExecutionError);
  await lock.release();
  assert.equal(await client.exists('lock'), 0);
  await (await theirs.acquire(['lock'], 5000)).release();
});

test('several resources are taken together or not at all', async () => {
  const names = ['a', 'b', 'c', 'd', 'e'];
  const held = await mine.acquire(['d'], 5000);
  await assert.rejects(theirs.acquire(names, 5000), ExecutionError);
  assert.deepEqual(await client.keys('*'), ['d']);
  await held.release();
  const all = await theirs.acquire(names, 5000);
  for (const name of names) {
    await assert.rejects(mine.acquire([name], 5000), ExecutionError);
  }
  await all.release();
  assert.equal(await client.dbsize(), 0);
});

test('it expires, and who comes late releases and extends nothing of another one', async () => {
  const late = await mine.acquire(['lock'], 60);
  await sleep(80);
  const next = await theirs.acquire(['lock'], 5000);
  await assert.rejects(late.release(), ExecutionError);
  await assert.rejects(late.extend(5000), /already-expired/);
  late.expiration = Date.now() + 5000; // as if its clock were slow
  await assert.rejects(late.extend(5000), ExecutionError);
  assert.equal(await client.get('lock'), next.value);
  await next.release();
});

test('extended, it outlives its first deadline', async () => {
  let lock = await mine.acquire(['lock'], 100);
  lock = await lock.extend(5000);
  await sleep(150);
  await assert.rejects(theirs.acquire(['lock'], 100), ExecutionError);
  await lock.release();
});

test('it is extended by itself while work lasts', async () => {
  const settings = { automaticExtensionThreshold: 100 };
  await mine.using(['lock'], 300, settings, async (signal) => {
    for (let i = 0; i < 10; i++) {
      await sleep(80);
      assert.equal(signal.aborted, false);
      await assert.rejects(theirs.acquire(['lock'], 100), ExecutionError);
    }
  });
  assert.equal(await client.exists('lock'), 0);
});

test('contenders never hold it together', async () => {
  const patient = { retryCount: -1, retryDelay: 5, retryJitter: 5 };
  let inside = 0;
  const contenders = Array.from({ length: 6 }, async () => {
    const contender = new Redlock([new Redis(server)], patient);
    for (let i = 0; i < 10; i++) {
      const lock = await contender.acquire(['lock', 'another thread\'s lock'], 10000);
      assert.equal(++inside, 1);
      const sum = Number(await client.get('sum'));
      await sleep(1);
      await client.set('sum', sum + 1);
      inside--;
      await lock.release();
    }
    await contender.quit();
  });
  await Promise.all(contenders);
  assert.equal(await client.get('sum'), '60');
});

test('scripts that were flushed are sent again', async () => {
  const lock = await mine.acquire(['lock'], 5000);
  await client.script('FLUSH');
  await lock.release();
  await (await mine.acquire(['lock'], 5000)).release();
});

// Three databases stand for three servers.
test('most of the servers decide', async () => {
  const databases = [0, 1, 2].map((db) => new Redis({ ...server, db }));
  const quorum = new Redlock(databases, ONCE);
  await databases[1].set('lock', 'somebody');
  const lock = await quorum.acquire(['lock'], 5000);
  assert.equal(await databases[2].get('lock'), lock.value);
  await lock.release();
  assert.deepEqual(await Promise.all(databases.map((each) => each.exists('lock'))), [0, 1, 0]);
  await databases[0].set('lock', 'somebody');
  await assert.rejects(quorum.acquire(['lock'], 5000), ExecutionError);
  assert.equal(await databases[2].exists('lock'), 0);
  await quorum.quit();
});
