"""Clients over TLS: redis-cli, redis-benchmark and python3-redis, beside redis-server's own TLS."""
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

import redis

from authority import Authority, openssl
from one_node import Node  # first: the import finds scenarios/chaos
from beside_redis import RedisServer
from processes import free_port, wait_until

MEGABYTE = 1 << 20


class TlsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="atoll-tls-")
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)
        cls.authority = Authority(cls.directory, "authority")
        cls.cert, cls.key = cls.authority.issue("server")
        cls.identity = cls.authority.issue("client")
        cls.stranger = Authority(cls.directory, "other").issue("stranger")

    def files(self, cert=None, key=None):
        return {"tls-cert-file": cert or self.cert, "tls-key-file": key or self.key,
                "tls-ca-cert-file": self.authority.cert}

    def node(self, wait=True, **options):
        """With a port for TLS beside the other, and two threads."""
        directory = tempfile.mkdtemp(dir=self.directory)
        node = Node("node", directory, {
            "dir": os.path.join(directory, "data"), "threads": 2, "save": '""',
            "tls-port": free_port(), **self.files(),
            **{name.replace("_", "-"): value for name, value in options.items()}})
        node.tls_port = node.options["tls-port"]
        node.start(wait=wait)
        self.addCleanup(node.stop)
        return node

    def client(self, port, identity=None, **options):
        cert, key = identity or (None, None)
        client = redis.Redis(host="127.0.0.1", port=port, ssl=True, ssl_certfile=cert,
                             ssl_keyfile=key, ssl_ca_certs=self.authority.cert, socket_timeout=20,
                             **options)
        self.addCleanup(client.connection_pool.disconnect)
        return client

    def context(self, identity=None):
        context = ssl.create_default_context(cafile=self.authority.cert)
        if identity:
            context.load_cert_chain(*identity)
        return context

    def raw(self, port, identity=None):
        plain = socket.create_connection(("127.0.0.1", port), 20)
        sealed = self.context(identity).wrap_socket(plain, server_hostname="127.0.0.1")
        self.addCleanup(sealed.close)
        return sealed

    def served(self, port, identity=None):
        try:
            return self.client(port, identity).ping()
        except redis.ConnectionError:
            return False

    def shown(self, port):
        """The name on the certificate that a new client sees."""
        subject = dict(pair[0] for pair in self.raw(port, self.identity).getpeercert()["subject"])
        return subject["commonName"]

    def closed(self, connection):
        """The server ends it, and says nothing that is a reply."""
        said = b""
        try:
            while more := connection.recv(1000):
                said += more
        except ConnectionError:
            pass
        self.assertNotIn(b"PONG", said)
        self.assertNotIn(b"ERR", said)

    def test_redis_cli_and_benchmark(self):
        node = self.node(tls_auth_clients="yes")
        how = ["-p", str(node.tls_port), "--tls", "--cacert", self.authority.cert]
        known = how + ["--cert", self.identity[0], "--key", self.identity[1]]

        def cli(*words):
            return subprocess.run(["redis-cli", *words], capture_output=True, text=True,
                                  timeout=60)
        self.assertEqual(cli(*known, "set", "k", "v").stdout, "OK\n")
        self.assertEqual(cli(*known, "get", "k").stdout, "v\n")
        self.assertEqual(node.client().get("k"), b"v")
        self.assertNotEqual(cli(*how, "get", "k").stdout, "v\n")
        done = subprocess.run(["redis-benchmark", *known, "-t", "set,get", "-n", "20000", "-c",
                               "20", "-P", "16", "--csv"],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.count("\n"), 3, done.stdout)

    def test_values_of_all_sizes_pipelines_and_transactions(self):
        client = self.client(self.node(tls_auth_clients="no").tls_port)
        for size in (0, 1, 16383, 16384, 16385, 65536, MEGABYTE, 20 * MEGABYTE):
            value = os.urandom(size)
            client.set("k", value)
            self.assertEqual(client.get("k"), value, size)
        pipe = client.pipeline(transaction=False)
        for i in range(10000):
            pipe.set(f"k{i}", f"v{i}")
            pipe.get(f"k{i}")
        self.assertEqual(pipe.execute()[1::2], [f"v{i}".encode() for i in range(10000)])
        values = {f"big{i}": os.urandom(MEGABYTE) for i in range(20)}
        client.mset(values)
        self.assertEqual(client.mget(values), list(values.values()))
        pipe = client.pipeline()
        self.assertEqual(pipe.set("n", 1).incr("n").execute(), [True, 2])

    def test_a_client_that_reads_late_gets_everything(self):
        node = self.node(tls_auth_clients="no")
        value = os.urandom(MEGABYTE)
        self.client(node.tls_port).set("k", value)
        slow = self.raw(node.tls_port)
        slow.sendall(b"GET k\r\n" * 40)
        time.sleep(0.5)
        got = b""
        wanted = (b"$%d\r\n%s\r\n" % (MEGABYTE, value)) * 40
        while len(got) < len(wanted):
            more = slow.recv(MEGABYTE)
            self.assertTrue(more)
            got += more
        self.assertTrue(got == wanted)

    def test_many_clients_at_once(self):
        node = self.node(tls_auth_clients="yes")
        failures = []

        def work(number):
            try:
                for _ in range(5):
                    client = self.client(node.tls_port, self.identity)
                    for i in range(50):
                        client.set(f"{number}:{i}", i)
                        assert client.get(f"{number}:{i}") == str(i).encode()
                    client.connection_pool.disconnect()
            except Exception as failure:  # noqa: BLE001: told by the test's own thread
                failures.append(failure)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        asking = node.client()
        wait_until(lambda: asking.info("clients")["connected_clients"] == 1, 10, "all have gone")

    def test_certificates_of_clients_as_in_redis(self):
        for wanted, outcome in (("yes", (False, False, True)), ("optional", (True, False, True)),
                                ("no", (True, True, True))):
            port = free_port()
            server = RedisServer("--tls-port", str(port), "--tls-auth-clients", wanted,
                                 *(word for name, value in self.files().items()
                                   for word in ("--" + name, value)))
            self.addCleanup(server.stop)
            node = self.node(tls_auth_clients=wanted)
            for each in (port, node.tls_port):
                self.assertEqual(tuple(self.served(each, identity) for identity in
                                       (None, self.stranger, self.identity)), outcome, wanted)
            node.stop()

    def test_tls_auth_clients_at_run_time(self):
        node = self.node()
        self.assertFalse(self.served(node.tls_port))
        node.client().config_set("tls-auth-clients", "no")
        self.assertTrue(self.served(node.tls_port))
        node.client().config_set("tls-auth-clients", "yes")
        self.assertFalse(self.served(node.tls_port))

    def test_config_set_reads_certificates_again(self):
        cert, key = (os.path.join(self.directory, name) for name in ("live.pem", "live.key"))
        for source, live in ((self.cert, cert), (self.key, key)):
            shutil.copy(source, live)
        node = self.node(**self.files(cert, key))
        old = self.client(node.tls_port, self.identity)
        old.set("k", "v")
        self.assertEqual(self.shown(node.tls_port), "server")
        renewed = self.authority.issue("renewed")
        for source, live in zip(renewed, (cert, key)):
            shutil.copy(source, live)
        self.assertEqual(self.shown(node.tls_port), "server")
        # The same name again, from clients of either thread: it is the file that is another.
        for _ in range(2):
            node.client().config_set("tls-cert-file", cert)
            self.assertEqual(self.shown(node.tls_port), "renewed")
        self.assertEqual(old.get("k"), b"v")
        names = {name: value for name, value in old.config_get("tls-*").items()}
        self.assertEqual(names["tls-cert-file"], cert)

    def test_config_set_of_bad_files_changes_nothing(self):
        node = self.node()
        client = self.client(node.tls_port, self.identity)
        nonsense = os.path.join(self.directory, "nonsense.pem")
        with open(nonsense, "w") as file:
            file.write("no PEM at all\n")
        other_cert, other_key = self.authority.issue("another")
        for pairs, at_fault, reason in (
                ({"tls-cert-file": "/nowhere.pem"}, "tls-cert-file", "No such file or directory"),
                ({"tls-cert-file": nonsense}, "tls-cert-file", f"'{nonsense}': no start line"),
                ({"tls-key-file": other_key}, "tls-key-file",
                 "is not the key of the certificate in tls-cert-file"),
                ({"tls-ca-cert-file": ""}, "tls-ca-cert-file", "set tls-ca-cert-file"),
                ({"tls-ciphers": "rot13"}, "tls-ciphers", "no cipher match")):
            words = [word for pair in pairs.items() for word in pair]
            with self.assertRaises(redis.ResponseError) as raised:
                client.execute_command("CONFIG", "SET", *words)
            text = str(raised.exception)
            self.assertIn(f"CONFIG SET failed (possibly related to argument '{at_fault}') - Unable "
                          "to update TLS configuration", text)
            self.assertIn(reason, text)
            self.assertEqual(self.shown(node.tls_port), "server")
            self.assertEqual(client.config_get("tls-cert-file")["tls-cert-file"], self.cert)
        client.execute_command("CONFIG", "SET", "tls-cert-file", other_cert, "tls-key-file",
                               other_key)
        self.assertEqual(self.shown(node.tls_port), "another")

    def test_options_as_redis_has_them(self):
        server = RedisServer()
        self.addCleanup(server.stop)
        directory = tempfile.mkdtemp(dir=self.directory)
        node = Node("plain", directory, {"dir": directory})
        node.start()
        self.addCleanup(node.stop)
        ours = node.client().config_get("tls-*")
        theirs = redis.Redis(port=server.port).config_get("tls-*")
        self.assertGreaterEqual(len(ours), 15)
        self.assertEqual(ours, {name: theirs[name] for name in ours})
        # Without a port for TLS nothing is read, there as here.
        for port in (server.port, node.port):
            client = redis.Redis(port=port)
            client.config_set("tls-cert-file", "/nowhere.pem")
            self.assertEqual(client.config_get("tls-cert-file")["tls-cert-file"], "/nowhere.pem")

    def test_bad_files_stop_the_start_and_are_named(self):
        locked = os.path.join(self.directory, "locked.key")
        openssl("ec", "-in", self.key, "-aes128", "-passout", "pass:secret", "-out", locked)
        for options, named in (
                ({"tls_cert_file": None}, "set tls-cert-file to a PEM file"),
                ({"tls_cert_file": "/nowhere.pem"},
                 "tls-cert-file '/nowhere.pem': No such file or directory"),
                ({"tls_key_file": self.cert}, f"tls-key-file '{self.cert}'"),
                ({"tls_key_file": locked}, "Set tls-key-file-pass"),
                ({"tls_ca_cert_file": None}, "tls-auth-clients to no"),
                ({"tls_protocols": "SSLv3"}, "Invalid tls-protocols specified.")):
            with self.subTest(options):
                node = self.node(wait=False, **options)
                wait_until(lambda: not node.running(), 30, "the node has ended")
                self.assertIn(named, node.log_text())
        node = self.node(tls_key_file=locked, tls_key_file_pass="secret")
        self.assertTrue(self.served(node.tls_port, self.identity))

    def test_tls_alone_and_files_relative_to_dir(self):
        directory = tempfile.mkdtemp(dir=self.directory)
        for source, name in ((self.cert, "c.pem"), (self.key, "k.pem")):
            shutil.copy(source, os.path.join(directory, name))
        node = self.node(wait=False, port=0, dir=directory, tls_auth_clients="no",
                         tls_cert_file="c.pem", tls_key_file="k.pem")
        wait_until(lambda: self.served(node.tls_port), 20, "the node answers over TLS")
        info = self.client(node.tls_port).info("server")
        self.assertEqual(info["tcp_port"], node.tls_port)
        self.assertEqual(info["listener2"], {"name": "tls", "bind": "127.0.0.1",
                                             "port": node.tls_port})
        self.assertNotIn("listener0", info)

    def test_wrong_language_at_a_port_is_closed(self):
        node = self.node()
        port = free_port()
        server = RedisServer("--tls-port", str(port), *(word for name, value in
                                                        self.files().items()
                                                        for word in ("--" + name, value)))
        self.addCleanup(server.stop)
        for each in (port, node.tls_port):
            with socket.create_connection(("127.0.0.1", each), 20) as plain:
                plain.sendall(b"PING\r\n")
                self.closed(plain)
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            self.raw(node.port)
        self.assertIn("Error accepting a client connection: wrong version number (addr=127.0.0.1:",
                      node.log_text())
        self.assertTrue(node.client().ping())

    def test_clients_are_managed_as_without_tls(self):
        node = self.node(maxclients=5)
        admin = node.client()
        client = self.client(node.tls_port, self.identity, client_name="sealed")
        client.ping()
        [found] = [each for each in admin.client_list() if each["name"] == "sealed"]
        self.assertEqual(found["laddr"], f"127.0.0.1:{node.tls_port}")
        victim = self.raw(node.tls_port, self.identity)
        victim.sendall(b"PING\r\n")
        self.assertEqual(victim.recv(100), b"+PONG\r\n")
        address = "%s:%d" % victim.getsockname()
        self.assertEqual(admin.execute_command("CLIENT", "KILL", "ADDR", address), 1)
        self.assertEqual(victim.recv(100), b"")  # with TLS' farewell, or this would be an error
        quitter = self.raw(node.tls_port, self.identity)
        quitter.sendall(b"QUIT\r\n")
        self.assertEqual(quitter.recv(100), b"+OK\r\n")
        self.assertEqual(quitter.recv(100), b"")
        admin.client_pause(300)
        began = time.monotonic()
        client.set("k", "v")
        self.assertGreater(time.monotonic() - began, 0.2)
        admin.config_set("timeout", 1)
        idle = self.raw(node.tls_port, self.identity)
        self.assertEqual(idle.recv(100), b"")
        admin.config_set("timeout", 0)
        admin.config_set("maxclients", 1)
        self.assertFalse(self.served(node.tls_port, self.identity))

    def test_passwords_and_subscriptions(self):
        node = self.node(requirepass="hush", tls_auth_clients="no", wait=False)
        wait_until(lambda: self.answers(node), 20, "the node answers")
        with self.assertRaises(redis.AuthenticationError):
            self.client(node.tls_port).ping()
        client = self.client(node.tls_port, password="hush")
        heard = client.pubsub()
        heard.subscribe("news")
        self.assertEqual(heard.get_message(timeout=5)["type"], "subscribe")
        client.publish("news", b"x" * MEGABYTE)
        self.assertEqual(len(heard.get_message(timeout=5)["data"]), MEGABYTE)

    def answers(self, node):
        try:
            return self.client(node.tls_port, password="hush").ping()
        except redis.ConnectionError:
            return False


if __name__ == "__main__":
    unittest.main()
