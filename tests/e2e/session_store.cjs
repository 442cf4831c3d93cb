// connect-redis under express-session, unmodified: sessions of two web servers in one store. Run by
// node_clients_test.py.
'use strict';
const assert = require('node:assert/strict');
const http = require('node:http');
const { test, before, after, beforeEach } = require('node:test');
const { setTimeout: sleep } = require('node:timers/promises');
const session = require('express-session');
const { RedisStore } = require('connect-redis');
const { createClient } = require('redis');

const port = Number(process.env.ATOLL_PORT);
let sites;
let client;
let store;

const PAGES = {
  '/login': (request) => request.session.regenerate(() => {
    request.session.user = new URL(request.url, 'http://site').searchParams.get('user');
    request.session.save(() => request.answer(request.session.user));
  }),
  '/who': (request) => request.answer(request.session.user || 'nobody'),
  '/visit': (request) => {
    request.session.visits = (request.session.visits || 0) + 1;
    request.answer(String(request.session.visits));
  },
  '/short': (request) => {
    request.session.cookie.maxAge = 1000;
    request.session.user = 'brief';
    request.answer('for a second');
  },
  '/logout': (request) => request.session.destroy(() => request.answer('bye')),
};

/** A web server of its own, with a connection of its own: as another process would be. */
async function openSite() {
  const connection = createClient({ socket: { port } });
  await connection.connect();
  const sessions = session({
    store: new RedisStore({ client: connection, prefix: 'app:', ttl: 600 }),
    secret: 'not one', resave: false, saveUninitialized: false });
  const site = http.createServer((request, response) => sessions(request, response, (error) => {
    request.answer = (text) => response.end(text);
    response.statusCode = error ? 500 : 200;
    if (error) return response.end(String(error));
    return PAGES[request.url.split('?')[0]](request);
  }));
  await new Promise((listening) => site.listen(0, '127.0.0.1', listening));
  return { site, connection, url: `http://127.0.0.1:${site.address().port}` };
}

/** One visitor with its cookie; `turn` says which site is asked. */
class Browser {
  async get(page, turn = 0) {
    const headers = this.cookie ? { cookie: this.cookie } : {};
    const response = await fetch(sites[turn % sites.length].url + page, { headers });
    const cookie = response.headers.get('set-cookie');
    if (cookie) this.cookie = cookie.split(';')[0];
    assert.equal(response.status, 200);
    return response.text();
  }

  get key() {
    return `app:${decodeURIComponent(this.cookie).match(/s:([^.]*)/)[1]}`;
  }
}

before(async () => {
  sites = await Promise.all([openSite(), openSite()]);
  client = createClient({ socket: { port }, RESP: 3 });
  await client.connect();
  store = new RedisStore({ client, prefix: 'app:' });
});
after(async () => {
  for (const { site, connection } of sites) {
    site.closeAllConnections();
    site.close();
    await connection.close();
  }
  await client.close();
});
beforeEach(() => client.flushAll());

test('what one site has set, the other one reads', async () => {
  const browser = new Browser();
  assert.equal(await browser.get('/who'), 'nobody');
  assert.equal(await client.dbSize(), 0);
  assert.equal(await browser.get('/login?user=Ada', 0), 'Ada');
  assert.equal(await browser.get('/who', 1), 'Ada');
  for (let visit = 1; visit <= 10; visit++) {
    assert.equal(await browser.get('/visit', visit), String(visit));
  }
  assert.equal(JSON.parse(await client.get(browser.key)).visits, 10);
});

test('a visit prolongs it, though nothing was written', async () => {
  const browser = new Browser();
  await browser.get('/login?user=Ada');
  const ttl = await client.ttl(browser.key);
  assert.ok(ttl > 590 && ttl <= 600);
  await client.expire(browser.key, 50);
  assert.ok((await client.ttl(browser.key)) <= 50);
  const value = await client.get(browser.key);
  assert.equal(await browser.get('/who'), 'Ada');
  assert.ok((await client.ttl(browser.key)) > 590);
  assert.equal(await client.get(browser.key), value);
});

test('it ends with its cookie', async () => {
  const browser = new Browser();
  await browser.get('/short');
  assert.equal(await browser.get('/who'), 'brief');
  await sleep(1100);
  assert.equal(await client.exists(browser.key), 0);
  assert.equal(await browser.get('/who'), 'nobody');
});

test('logged out at one site, nobody at the other one', async () => {
  const browser = new Browser();
  await browser.get('/login?user=Ada');
  const stolen = new Browser();
  stolen.cookie = browser.cookie;
  assert.equal(await browser.get('/logout', 1), 'bye');
  assert.equal(await stolen.get('/who', 0), 'nobody');
  assert.equal(await client.dbSize(), 0);
});

test('many visitors, and the store as its owner sees it', async () => {
  await client.set('another application', 'x');
  const browsers = Array.from({ length: 150 }, () => new Browser());
  await Promise.all(browsers.map(async (browser, i) => {
    await browser.get(`/login?user=${i}`, i);
    await browser.get('/visit', i + 1);
    assert.equal(await browser.get('/who', i), String(i));
  }));
  assert.equal(await store.length(), 150);
  assert.deepEqual((await store.ids()).map((id) => `app:${id}`).sort(),
    browsers.map((browser) => browser.key).sort());
  assert.deepEqual((await store.all()).map(({ user }) => Number(user)).sort((a, b) => a - b),
    browsers.map((_, i) => i));
  await store.clear();
  assert.deepEqual(await client.keys('*'), ['another application']);
});
