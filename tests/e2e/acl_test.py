"""Access control of the real binary: replies side by side with redis-server 7.0, files that survive
restarts, files that must stop a start.

What Redis 7.2 words differently from the 7.0 that runs here is written down in `as_7_2`, and
nothing else may differ.
"""
import os
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import time
import unittest

from one_node import OneNodeTest  # first: it finds the modules of the scenarios

from beside_redis import RedisServer
from cluster import binary
from processes import free_port
import redis

KEY_TEXT_7_0 = "this user has no permissions to access one of the keys used as arguments"

CHANNEL_TEXT_7_0 = ("this user has no permissions to access one of the channels used as "
                    "arguments")


class RawClient:
    """Sends words and reads one reply, in RESP2, as nested lists; errors as b'-...'."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.input = self.socket.makefile("rb")

    def call(self, *words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.socket.sendall(b"*%d\r\n" % len(words)
                            + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        return self.read()

    def read(self):
        line = self.input.readline()
        if not line:
            return "closed"
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self.input.read(size + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        if kind == b":":
            return int(rest)
        return kind + rest

    def close(self):
        self.input.close()
        self.socket.close()


def as_7_2(reply, user="alice"):
    """What redis-server 7.0 said, in the words of 7.2."""
    if isinstance(reply, list):
        return [as_7_2(item, user) for item in reply]
    if not isinstance(reply, bytes):
        return reply
    reply = reply.replace(KEY_TEXT_7_0.encode(), b"No permissions to access a key")
    reply = reply.replace(CHANNEL_TEXT_7_0.encode(), b"No permissions to access a channel")
    reply = reply.replace(b"the HELLO AUTH <user>", b"the HELLO <proto> AUTH <user>")
    return re.sub(rb"[Tt]his user has no permissions", b"User %s has no permissions" % user.encode(),
                  reply)


def without_flag(reply):
    """Atoll's description of users without the flag that 7.0 does not print of new ones."""
    if isinstance(reply, list):
        return [without_flag(item) for item in reply if item != b"sanitize-payload"]
    return reply.replace(b"sanitize-payload ", b"") if isinstance(reply, bytes) else reply


# Administration: one connection sends all of it to both servers.
CONVERSATION = """
ACL LIST
ACL USERS
ACL WHOAMI
ACL GETUSER default
ACL GETUSER nosuch
ACL CAT
ACL CAT nosuch
ACL CAT a b
ACL SETUSER alice
ACL GETUSER alice
ACL SETUSER alice on >secret >other <other ~k* %R~r* %W~w* &c* &d
ACL LIST
ACL SETUSER alice +get +set +del +mget +config|get +select|0 +object|encoding
ACL GETUSER alice
ACL SETUSER alice (+incr ~n*) (%R~x* +@read)
ACL GETUSER alice
ACL SETUSER alice +nosuch
ACL SETUSER alice -nosuch
ACL SETUSER alice nosuch
ACL SETUSER alice +@nosuch
ACL SETUSER alice +config|nosuch
ACL SETUSER alice -select|0
ACL SETUSER alice +config|get|x
ACL SETUSER alice +get|
ACL SETUSER alice #12
ACL SETUSER alice !12
ACL SETUSER alice <nosuch
ACL SETUSER alice %X~k
ACL SETUSER alice (+get
ACL SETUSER alice (nosuch)
ACL SETUSER alice allkeys ~k
ACL SETUSER alice allchannels &c
ACL GETUSER alice
ACL SETUSER bob reset on nopass allkeys +@all -@dangerous
ACL SETUSER carl skip-sanitize-payload
ACL SETUSER carl sanitize-payload clearselectors nocommands resetchannels resetkeys off
ACL USERS
ACL DELUSER carl nosuch
ACL DELUSER default
ACL DELUSER
ACL SETUSER
ACL GETUSER
ACL WHOAMI x
ACL NOSUCH
ACL GENPASS 0
ACL GENPASS 4097
ACL GENPASS x
ACL GENPASS 1 2
ACL LOAD
ACL SAVE
ACL LOG x
ACL LOG 1 2
ACL LOG
ACL LOG 0
ACL LOG -1
ACL LOG RESET
ACL HELP
ACL DRYRUN nosuch get k
ACL DRYRUN alice nosuch k
ACL DRYRUN alice get
ACL DRYRUN alice get k1
ACL DRYRUN alice get r1
ACL DRYRUN alice get w1
ACL DRYRUN alice set w1 v
ACL DRYRUN alice set w1 v get
ACL DRYRUN alice set r1 v
ACL DRYRUN alice del w1
ACL DRYRUN alice mget k1 r1 x
ACL DRYRUN alice mget k1 other
ACL DRYRUN alice incr n1
ACL DRYRUN alice incr k1
ACL DRYRUN alice incr
ACL DRYRUN alice strlen x1
ACL DRYRUN alice config get x
ACL DRYRUN alice config set x y
ACL DRYRUN alice config
ACL DRYRUN alice config nosuch
ACL DRYRUN alice select 0
ACL DRYRUN alice select 1
ACL DRYRUN alice auth x
ACL DRYRUN alice hello
ACL DRYRUN alice flushall
AUTH
AUTH pw
AUTH nosuch pw
AUTH alice wrong
AUTH a b c
HELLO 2 AUTH alice wrong
CLIENT KILL USER nosuch
CONFIG GET acllog-max-len
CONFIG GET acl-pubsub-default
CONFIG GET aclfile
CONFIG SET aclfile /tmp/x
CONFIG GET user
CONFIG SET acl-pubsub-default nosuch
COMMAND GETKEYSANDFLAGS set k v
COMMAND GETKEYSANDFLAGS set k v get
""".strip().splitlines()

# What a user with few rights gets, on both: rules, then commands.
DENIED = {
    "on >secret ~k* +get +set +mget +object +config|get +select|0 +multi +exec +acl|whoami +discard": [
        "GET k", "GET x", "SET x v", "SET k v", "MGET k k2", "MGET k x", "DEL k", "FLUSHALL",
        "CONFIG GET port", "CONFIG SET timeout 0", "CONFIG", "SELECT 0", "SELECT 1", "PING",
        "ACL WHOAMI", "ACL LIST", "OBJECT ENCODING x", "OBJECT HELP", "OBJECT FREQ x", "nosuch k",
        "GET", "MULTI", "GET k", "GET x", "EXEC", "MULTI", "SET k 5", "DEL k", "EXEC", "MULTI",
        "SET k 6", "DISCARD", "GET k", "CLIENT ID", "COMMAND COUNT", "RESET"],
    "on >secret %R~r* %W~w* ~b* +@all -@admin": [
        "SET w 1", "GET w", "GET r", "SET r 1", "SET w 1 GET", "GETSET w 1", "APPEND w 1",
        "INCR w", "INCR b", "EXPIRE w 100", "TTL w", "TTL r", "PERSIST w", "EXISTS r w", "TYPE w",
        "STRLEN w", "SETRANGE w 0 x", "GETRANGE w 0 1", "GETDEL w", "DEL w", "DEL r", "UNLINK w r",
        "COPY r w", "COPY w b", "RENAME b w", "RENAME w b", "RENAMENX r w", "MSET w 1 b 2",
        "MSETNX w 1 r 2", "MGET r b", "MGET r w", "SETNX w 1", "SETEX w 10 v", "PSETEX r 10 v",
        "TOUCH w r x", "WATCH r w", "WATCH x", "UNWATCH", "LCS r b", "LCS r w", "DBSIZE", "KEYS zz",
        "CONFIG GET port", "SHUTDOWN", "MONITOR", "SLOWLOG GET", "CLIENT LIST"],
    "on >secret allkeys +@read +@connection -get": [
        "GET k", "MGET k", "SET k v", "PING", "ECHO x", "SELECT 1", "CLIENT GETNAME", "CLIENT LIST",
        "KEYS zz", "DBSIZE", "MULTI", "COMMAND COUNT x", "OBJECT HELP", "EXISTS k"],
    "on >secret allkeys +@all -@write -@dangerous -@slow": [
        "GET k", "SET k v", "PING", "KEYS *", "MGET k", "INFO", "STRLEN k", "TIME", "ACL WHOAMI"],
    "on >secret (~a* +get) (~b* +set +mget) +del ~c*": [
        "GET a", "GET b", "SET b 1", "SET a 1", "MGET b", "MGET a", "DEL c", "DEL a", "INCR a"],
    "on >secret allkeys +@all resetchannels &c* &p.*": [
        "PUBLISH c1 m", "PUBLISH d m", "SPUBLISH c1 m", "SPUBLISH d m", "SUBSCRIBE d",
        "SUBSCRIBE c1 d", "SSUBSCRIBE d", "PSUBSCRIBE c1", "PSUBSCRIBE *", "PSUBSCRIBE p.* d*",
        "MULTI", "PUBLISH c1 m", "PUBLISH d m", "EXEC", "ACL DRYRUN alice PUBLISH d m",
        "ACL DRYRUN alice SUBSCRIBE c1 d", "PSUBSCRIBE p.*"],
}


class SideBySide(OneNodeTest):
    options = {"appendonly": "no", "threads": 2}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.peer = RedisServer()

    @classmethod
    def tearDownClass(cls):
        cls.peer.stop()
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.ours, self.theirs = RawClient(self.port), RawClient(self.peer.port)
        self.addCleanup(self.ours.close)
        self.addCleanup(self.theirs.close)
        for client in (self.ours, self.theirs):
            for user in client.call("ACL", "USERS"):
                if user != b"default":
                    client.call("ACL", "DELUSER", user)

    def comparable(self, line, reply):
        """Order that Redis leaves open, and rules that 7.0 rewrites and 7.2 keeps as given."""
        words = line.lower().split()
        if words[:2] == ["acl", "list"]:
            # Rules of commands: 7.0 reorders them. DENIED compares what they mean.
            return sorted(re.sub(rb"[-+]@?[a-z|0-9]+ ?", b"", user) for user in reply)
        if words[:2] == ["acl", "getuser"] and isinstance(reply, list):
            fields = dict(zip(reply[::2], reply[1::2]))
            fields[b"commands"] = sorted(fields[b"commands"].split())
            fields[b"flags"] = sorted(fields[b"flags"])
            return fields
        return reply

    def test_administration(self):
        for line in CONVERSATION:
            with self.subTest(line=line):
                ours = without_flag(self.ours.call(*line.split()))
                theirs = without_flag(as_7_2(self.theirs.call(*line.split())))
                self.assertEqual(self.comparable(line, ours), self.comparable(line, theirs))

    def test_binary_arguments(self):
        for words in (("ACL", "SETUSER", "a b"), ("ACL", "SETUSER", b"a\0b"),
                      ("ACL", "SETUSER", "x", "~a b"), ("ACL", "SETUSER", "x", "&a\tb"),
                      ("ACL", "SETUSER", "x", "(~a", "+get", "+set)"),
                      ("ACL", "SETUSER", "x", "(~a +get)", "")):
            with self.subTest(words=words):
                self.assertEqual(self.ours.call(*words), self.theirs.call(*words))

    def test_what_users_get(self):
        for rules, lines in DENIED.items():
            clients = []
            for admin, port in ((self.ours, self.port), (self.theirs, self.peer.port)):
                self.assertEqual(admin.call("FLUSHALL"), b"+OK")
                self.assertEqual(admin.call("ACL", "LOG", "RESET"), b"+OK")
                self.assertEqual(admin.call("ACL", "SETUSER", "alice", "reset", *rules.split()),
                                 b"+OK")
                for key in ("k", "r", "w", "b", "a", "c", "x"):
                    admin.call("SET", key, "7")
                client = RawClient(port)
                self.addCleanup(client.close)
                self.assertEqual(client.call("AUTH", "alice", "secret"), b"+OK")
                clients.append(client)
            for line in lines:
                with self.subTest(rules=rules, line=line):
                    ours, theirs = (client.call(*line.split()) for client in clients)
                    if line in ("CONFIG GET port", "DBSIZE", "CLIENT ID", "COMMAND COUNT", "INFO",
                                "TIME", "OBJECT HELP", "CLIENT LIST", "SLOWLOG GET"):
                        ours, theirs = (str(r)[:10] if str(r).startswith("b'-") else type(r)
                                        for r in (ours, theirs))
                    self.assertEqual(ours, as_7_2(theirs))
            logs = []
            for admin in (self.ours, self.theirs):
                entries = admin.call("ACL", "LOG", "100")
                logs.append([tuple(dict(zip(e[::2], e[1::2]))[f] for f in
                                   (b"count", b"reason", b"context", b"object", b"username"))
                             for e in entries])
            self.assertEqual(logs[0], logs[1], rules)

    def test_who_loses_a_channel_is_ended(self):
        for how, name, lost in (("SUBSCRIBE", "c1", "&d"), ("PSUBSCRIBE", "c*", "&c1"),
                                ("SSUBSCRIBE", "c1", "&c2"), ("SUBSCRIBE", "c1", "allchannels"),
                                ("SUBSCRIBE", "c1", "&c?"), ("PSUBSCRIBE", "c*", "&c*")):
            ended = []
            for admin, port in ((self.ours, self.port), (self.theirs, self.peer.port)):
                admin.call("ACL", "SETUSER", "alice", "reset", "on", "nopass", "+@all", "~*", "&c*",
                           "&c1")
                client = RawClient(port)
                self.addCleanup(client.close)
                client.call("AUTH", "alice", "any")
                self.assertEqual(client.call(how, name)[2], 1)
                admin.call("ACL", "SETUSER", "alice", "resetchannels", lost)
                admin.call("SPUBLISH" if how == "SSUBSCRIBE" else "PUBLISH", "c1", "m")
                ended.append(client.read())
            with self.subTest(how=how, lost=lost):
                self.assertEqual(ended[0], ended[1])
                self.assertEqual(ended[0] == "closed", lost in ("&d", "&c1", "&c2"))

    def test_categories(self):
        known = [set(c.call("COMMAND", "LIST")) for c in (self.ours, self.theirs)]
        both = known[0] & known[1]
        self.assertGreater(len(both), 130)
        for category in self.theirs.call("ACL", "CAT"):
            ours, theirs = (set(c.call("ACL", "CAT", category)) & both
                            for c in (self.ours, self.theirs))
            if category == b"write":
                theirs.discard(b"swapdb")  # refused, so it writes nothing
            self.assertEqual(ours, theirs, category)

    def test_key_flags(self):
        """Every command with keys that both have says the same of each key."""
        asked = 0
        for name in sorted(set(self.ours.call("COMMAND", "LIST"))
                           & set(self.theirs.call("COMMAND", "LIST"))):
            words = name.split(b"|")
            for arguments in ((b"a",), (b"a", b"1"), (b"a", b"1", b"v")):
                ours, theirs = (c.call("COMMAND", "GETKEYSANDFLAGS", *words, *arguments)
                                for c in (self.ours, self.theirs))
                if name in (b"move", b"debug"):
                    continue
                # Redis finds no keys in a call of a script that names fewer than it announces.
                if not theirs or not isinstance(theirs, list):
                    continue
                with self.subTest(name=name):
                    self.assertEqual(ours, theirs)
                asked += 1
        self.assertGreater(asked, 60)

    def test_requirepass_and_default(self):
        ours, theirs = [], []
        for replies, port in ((ours, self.port), (theirs, self.peer.port)):
            early, client = RawClient(port), RawClient(port)
            for words in ("CONFIG SET requirepass one", "PING", "CONFIG GET requirepass", "RESET",
                          "PING", "AUTH two", "AUTH one", "ACL GETUSER default",
                          "ACL SETUSER default >two", "RESET", "AUTH two", "RESET", "AUTH one",
                          "CONFIG SET requirepass three", "RESET", "AUTH one", "AUTH two",
                          "AUTH default three", "ACL SETUSER default off", "PING", "RESET",
                          "AUTH three", "HELLO 3 AUTH default three", "HELLO", "QUIT"):
                replies.append((words, client.call(*words.split())))
            # `early` was let in when no password was needed.
            for words in ("PING", "ACL SETUSER default on nopass", "CONFIG SET requirepass four",
                          "CONFIG SET requirepass", "AUTH x", "PING"):
                parts = words.split()
                if parts[-1] == "requirepass":
                    parts.append("")
                replies.append((words, early.call(*parts)))
            client.close()
            early.close()
        for our, their in zip(ours, theirs):
            with self.subTest(line=our[0]):
                if our[0].startswith("ACL GETUSER"):
                    our, their = (self.comparable(x[0], without_flag(x[1])) for x in (our, their))
                else:
                    our, their = our[1], as_7_2(their[1])
                self.assertEqual(our, their)

    def test_python_client(self):
        admin = self.redis
        password = admin.acl_genpass()
        self.assertEqual(len(password), 64)
        self.assertTrue(admin.acl_setuser("app", enabled=True, passwords=["+" + password],
                                          keys=["app:*"], categories=["+@read", "+@write"]))
        app = redis.Redis(port=self.port, username="app", password=password)
        self.addCleanup(app.close)
        app.set("app:1", "x")
        with self.assertRaises(redis.exceptions.NoPermissionError):
            app.get("other")
        with self.assertRaises(redis.exceptions.NoPermissionError):
            app.config_get("port")
        with self.assertRaisesRegex(redis.exceptions.ResponseError, "WRONGPASS"):
            redis.Redis(port=self.port, username="app", password="wrong").ping()
        self.assertEqual(admin.acl_log()[0]["reason"], "auth")
        self.assertIn("app", admin.acl_users())
        self.assertIn("~app:*", str(admin.acl_getuser("app")["keys"]))
        admin.acl_log_reset()
        admin.acl_deluser("app")
        # The connection is gone, and a new one is not let in.
        with self.assertRaises(redis.exceptions.RedisError):
            app.get("app:1")
        with self.assertRaisesRegex(redis.exceptions.ResponseError, "WRONGPASS"):
            app.get("app:1")


class Files(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="atoll-acl-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.users = os.path.join(self.directory, "users.acl")
        self.config = os.path.join(self.directory, "atoll.conf")

    def write(self, path, text):
        with open(path, "w") as file:
            file.write(text)

    def start(self, *options):
        port = free_port()
        process = subprocess.Popen(
            [binary(), "server", *options, "--port", str(port), "--dir", self.directory,
             "--save", ""], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(process.stdout.close)
        deadline = time.monotonic() + 20
        while True:
            try:
                client = redis.Redis(port=port, socket_timeout=20)
                client.execute_command("RESET")
                break
            except redis.exceptions.ConnectionError:
                self.assertIsNone(process.poll(), process.poll() is not None
                                  and process.stdout.read())
                self.assertLess(time.monotonic(), deadline, "the server does not listen")
                time.sleep(0.02)
        self.addCleanup(client.close)

        def stop():
            if process.poll() is None:
                process.terminate()
                process.wait(20)
        self.addCleanup(stop)
        client.stop_server = stop
        return client

    def refused(self, *options):
        done = subprocess.run([binary(), "server", *options, "--port", str(free_port()), "--dir",
                               self.directory, "--save", ""], capture_output=True, text=True,
                              timeout=30)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_a_bad_start_names_the_line(self):
        self.write(self.users, "user alice on\n\nuser bob +nosuch\n")
        out = self.refused("--aclfile", "users.acl")
        self.assertIn("users.acl:3: Unknown command or category name in ACL", out)
        out = self.refused("--aclfile", "nosuch.acl")
        self.assertIn("No such file or directory", out)
        self.write(self.users, "# a comment\n")
        self.assertIn("users.acl:1 should start with user keyword",
                      self.refused("--aclfile", self.users))
        self.write(self.users, "user alice on\n")
        self.write(self.config, "timeout 0\nuser bob on\n")
        out = self.refused(self.config, "--aclfile", self.users)
        self.assertIn("use one or the other", out)
        self.assertIn("atoll.conf:2", out)
        self.write(self.config, "timeout 0\nuser bob on +nosuch\n")
        self.assertIn("atoll.conf:2: Error loading ACL rule '+nosuch' for the user named 'bob'",
                      self.refused(self.config))
        self.write(self.config, "user bob on\nuser bob off\n")
        out = self.refused(self.config)
        self.assertIn("at line 2", out)
        self.assertIn("A user can only be defined once", out)

    def test_users_of_the_aclfile_survive_a_restart(self):
        self.write(self.users, "user default on nopass ~* &* +@all\nuser alice on >pw ~a* +@read\n")
        first = self.start("--aclfile", "users.acl", "--threads", "2")
        before = first.execute_command("ACL LIST")
        self.assertEqual(len(before), 2)
        first.execute_command("ACL SETUSER", "bob", "on", ">secret", "%R~b*", "(+set ~c*)", "-get",
                              "+@string", "-@slow", "&x*")
        saved = first.execute_command("ACL LIST")
        self.assertTrue(first.execute_command("ACL SAVE"))
        first.execute_command("ACL DELUSER", "bob")
        first.stop_server()
        self.assertEqual(os.listdir(self.directory).count("users.acl"), 1)
        self.assertEqual([f for f in os.listdir(self.directory) if ".tmp" in f], [])
        again = self.start("--aclfile", "users.acl", "--threads", "2")
        self.assertEqual(again.execute_command("ACL LIST"), saved)
        self.assertTrue(again.execute_command("AUTH", "bob", "secret"))
        with self.assertRaises(redis.exceptions.NoPermissionError):
            again.execute_command("ACL SAVE")

    def test_load(self):
        self.write(self.users, "user alice on >pw ~a* +@all\nuser bob on >pw ~* +@all\n")
        admin = self.start("--aclfile", self.users, "--threads", "3")
        port = admin.connection_pool.connection_kwargs["port"]
        alice, bob = RawClient(port), RawClient(port)
        self.addCleanup(alice.close)
        self.addCleanup(bob.close)
        self.assertEqual(alice.call("AUTH", "alice", "pw"), b"+OK")
        self.assertEqual(bob.call("AUTH", "bob", "pw"), b"+OK")
        before = admin.execute_command("ACL LIST")
        self.write(self.users, "user alice on >pw ~b* +@all\nuser bob on +nosuch\n")
        with self.assertRaisesRegex(redis.exceptions.ResponseError, "users.acl:2: Unknown command"):
            admin.execute_command("ACL LOAD")
        self.assertEqual(admin.execute_command("ACL LIST"), before)
        self.assertEqual(alice.call("SET", "a", "1"), b"+OK")
        self.write(self.users, "user alice on >pw ~b* +@all\nuser bob on >pw ~* +@all\n")
        self.assertTrue(admin.execute_command("ACL LOAD"))
        self.assertIn(alice.call("SET", "a", "1"), ("closed", b"-NOAUTH Authentication required."))
        self.assertEqual(bob.call("SET", "a", "1"), b"+OK", "who did not change stays")
        # Whoever takes its own rights away reads the answer.
        self.write(self.users, "user bob off\n")
        self.assertEqual(bob.call("ACL", "LOAD"), b"+OK")
        self.assertEqual(bob.read(), "closed")

    def test_a_directory_that_cannot_be_written(self):
        self.write(self.users, "user alice on\n")
        admin = self.start("--aclfile", self.users)
        os.remove(self.users)
        os.mkdir(self.users)
        with self.assertRaisesRegex(redis.exceptions.ResponseError, "error trying to save the ACLs"):
            admin.execute_command("ACL SAVE")
        self.assertEqual([f for f in os.listdir(self.directory) if ".tmp" in f], [])

    def test_config_rewrite_keeps_users(self):
        self.write(self.config, "# mine\nuser alice on >pw ~a* +get\ntimeout 0\nuser bob off\n")
        first = self.start(self.config)
        first.execute_command("ACL SETUSER", "alice", "+set", "(~x +del)")
        first.execute_command("ACL DELUSER", "bob")
        first.execute_command("ACL SETUSER", "carl", "on", ">x", "+@all")
        first.execute_command("ACL SETUSER", "", "~nameless")
        first.execute_command("ACL SETUSER", 'o"k', "~'x", "&\\y")
        users = first.execute_command("ACL LIST")
        self.assertTrue(first.execute_command("CONFIG REWRITE"))
        first.stop_server()
        with open(self.config) as file:
            text = file.read()
        self.assertNotIn("pw", text)
        self.assertTrue(text.startswith("# mine\n"), text)
        again = self.start(self.config)
        self.assertEqual(again.execute_command("ACL LIST"), users)

    def test_config_rewrite_with_a_password_alone_writes_no_users(self):
        self.write(self.config, "requirepass pw\n")
        node = self.start(self.config)
        node.execute_command("AUTH", "pw")
        node.execute_command("CONFIG SET", "timeout", "9")
        node.execute_command("CONFIG REWRITE")
        with open(self.config) as file:
            text = file.read()
        self.assertIn("timeout 9", text)
        self.assertNotIn("user", text)

    def test_saved_file_keeps_its_mode(self):
        self.write(self.users, "user alice on\n")
        os.chmod(self.users, 0o640)
        admin = self.start("--aclfile", self.users)
        admin.execute_command("ACL SAVE")
        self.assertEqual(stat.S_IMODE(os.stat(self.users).st_mode), 0o640)


if __name__ == "__main__":
    unittest.main()
