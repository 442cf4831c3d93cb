"""A region and its NATS server prove to each other who they are: certificates, users by JWT."""
import base64
import os
import shutil
import struct
import tempfile
import unittest

from authority import Authority, openssl
from one_node import Node  # noqa: F401: the import finds scenarios/chaos
from processes import Process, free_port, listens, wait_until


class NKey:
    """An Ed25519 key as NATS writes it: base32 of a prefix, the key and a CRC-16."""

    PREFIX = {"operator": 14 << 3, "account": 0, "user": 20 << 3}

    def __init__(self, kind):
        self._pem = openssl("genpkey", "-algorithm", "ed25519")
        secret = openssl("pkey", "-outform", "DER", stdin=self._pem)[-32:]
        public = openssl("pkey", "-pubout", "-outform", "DER", stdin=self._pem)[-32:]
        prefix = self.PREFIX[kind]
        self.public = self._text(bytes([prefix]) + public)
        seed = 18 << 3
        self.seed = self._text(bytes([seed | prefix >> 5, (prefix & 31) << 3]) + secret)

    @staticmethod
    def _text(raw):
        crc = 0
        for byte in raw:
            crc ^= byte << 8
            for _ in range(8):
                crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
        return base64.b32encode(raw + struct.pack("<H", crc)).decode().rstrip("=")

    def sign(self, text):
        with tempfile.NamedTemporaryFile() as key, tempfile.NamedTemporaryFile() as message:
            key.write(self._pem)
            key.flush()
            message.write(text.encode())
            message.flush()
            return openssl("pkeyutl", "-sign", "-inkey", key.name, "-rawin", "-in", message.name)

    def jwt(self, subject, name, kind):
        import hashlib
        import json
        claims = {"iat": 1, "iss": self.public, "name": name, "sub": subject,
                  "nats": {"type": kind, "version": 2}}
        if kind == "account":
            unlimited = {each: -1 for each in ("subs", "data", "payload", "imports", "exports",
                                               "conn", "leaf")}
            claims["nats"]["limits"] = {**unlimited, "wildcards": True}
        if kind == "user":
            claims["nats"].update({"subs": -1, "data": -1, "payload": -1})
        claims["jti"] = base64.b32encode(
            hashlib.sha256(json.dumps(claims).encode()).digest()).decode().rstrip("=")

        def part(data):
            return base64.urlsafe_b64encode(data).decode().rstrip("=")
        signed = ".".join(part(json.dumps(each).encode())
                          for each in ({"typ": "JWT", "alg": "ed25519-nkey"}, claims))
        return signed + "." + part(self.sign(signed))


class NatsSecurity(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="atoll-nats-security-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.authority = Authority(self.directory, "authority")
        self.nodes = 0

    def path(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def nats(self, config):
        port = free_port()
        path = self.path("nats.conf", f"listen: 127.0.0.1:{port}\n{config}")
        server = Process("nats", ["nats-server", "-c", path], self.directory)
        server.spawn()
        self.addCleanup(server.stop)
        wait_until(lambda: listens(port), 15, "nats-server listens")
        return port

    def tls(self, addresses="IP:127.0.0.1"):
        cert, key = self.authority.issue("server", addresses)
        return self.nats(f'tls {{ cert_file: "{cert}", key_file: "{key}", '
                         f'ca_file: "{self.authority.cert}", verify: true }}')

    def node(self, url, region=None, **options):
        self.nodes += 1
        name = region or f"r{self.nodes}"
        directory = os.path.join(self.directory, name)
        node = Node(name, directory, {
            "dir": os.path.join(directory, "data"), "region": name, "region-id": self.nodes,
            "geo-nats-url": url, "appendonly": "no",
            **{each.replace("_", "-"): value for each, value in options.items()}})
        self.addCleanup(node.stop)
        return node

    def converge(self, us, eu):
        for node in (us, eu):
            node.start()
        us.client().set("k", "v")
        wait_until(lambda: eu.client().get("k") == b"v", 30, "the write is in the other region")

    def stays_out(self, node, advice):
        """It serves its clients, is not connected, and says what to do."""
        node.start()
        wait_until(lambda: advice in node.log_text(), 30, f"the log says '{advice}'")
        self.assertEqual(node.info("geo")["geo_nats_connected"], 0)
        node.client().set("k", "v")

    def test_regions_meet_over_tls_with_certificates_of_both_sides(self):
        url = f"tls://127.0.0.1:{self.tls()}"
        nodes = []
        for region in ("us", "eu"):
            cert, key = self.authority.issue(region)
            nodes.append(self.node(url, region, geo_nats_tls_ca_cert_file=self.authority.cert,
                                   geo_nats_tls_cert_file=cert, geo_nats_tls_key_file=key))
        self.converge(*nodes)

    def test_a_server_of_another_authority_is_not_talked_to(self):
        url = f"tls://127.0.0.1:{self.tls()}"
        cert, key = self.authority.issue("us")
        other = Authority(self.directory, "other")
        node = self.node(url, geo_nats_tls_ca_cert_file=other.cert, geo_nats_tls_cert_file=cert,
                         geo_nats_tls_key_file=key)
        self.stays_out(node, "geo-nats-tls-ca-cert-file")

    def test_nor_is_one_that_the_system_does_not_trust(self):
        url = f"tls://127.0.0.1:{self.tls()}"
        cert, key = self.authority.issue("us")
        self.stays_out(self.node(url, geo_nats_tls_cert_file=cert, geo_nats_tls_key_file=key),
                       "geo-nats-tls-ca-cert-file")

    def test_nor_is_one_with_the_certificate_of_another_host(self):
        url = f"tls://127.0.0.1:{self.tls('DNS:elsewhere.example')}"
        cert, key = self.authority.issue("us")
        node = self.node(url, geo_nats_tls_ca_cert_file=self.authority.cert,
                         geo_nats_tls_cert_file=cert, geo_nats_tls_key_file=key)
        self.stays_out(node, "certificate is of the host")

    def test_a_node_without_a_certificate_is_refused(self):
        url = f"tls://127.0.0.1:{self.tls()}"
        node = self.node(url, geo_nats_tls_ca_cert_file=self.authority.cert)
        self.stays_out(node, "geo-nats-tls-cert-file")

    def test_files_that_cannot_be_used_stop_the_start_and_are_named(self):
        cert, key = self.authority.issue("us")
        nonsense = self.path("nonsense.pem", "no PEM at all\n")
        for options, named in (
                ({"geo_nats_tls_ca_cert_file": "/nowhere/ca.pem"},
                 "geo-nats-tls-ca-cert-file '/nowhere/ca.pem': No such file"),
                ({"geo_nats_tls_ca_cert_file": nonsense}, f"'{nonsense}'"),
                ({"geo_nats_tls_cert_file": cert, "geo_nats_tls_key_file": "/nowhere/key.pem"},
                 "geo-nats-tls-key-file '/nowhere/key.pem': No such file"),
                ({"geo_nats_tls_cert_file": nonsense, "geo_nats_tls_key_file": key},
                 f"geo-nats-tls-cert-file '{nonsense}'"),
                ({"geo_nats_credentials_file": "/nowhere/us.creds"},
                 "geo-nats-credentials-file '/nowhere/us.creds': No such file")):
            with self.subTest(options):
                node = self.node("tls://127.0.0.1:1", **options)
                node.start(wait=False)
                wait_until(lambda: not node.running(), 30, "the node has ended")
                self.assertIn(named, node.log_text())

    def test_regions_meet_as_users_known_by_jwt(self):
        operator, account = NKey("operator"), NKey("account")
        port = self.nats(f"""
operator: {operator.jwt(operator.public, "operator", "operator")}
resolver: MEMORY
resolver_preload: {{ {account.public}: {operator.jwt(account.public, "cache", "account")} }}
""")
        url = f"nats://127.0.0.1:{port}"

        def credentials(name, signer):
            user = NKey("user")
            return self.path(
                f"{name}.creds",
                f"-----BEGIN NATS USER JWT-----\n{signer.jwt(user.public, name, 'user')}\n"
                f"------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{user.seed}\n"
                f"------END USER NKEY SEED------\n")
        self.converge(*(self.node(url, region,
                                  geo_nats_credentials_file=credentials(region, account))
                        for region in ("us", "eu")))
        stranger = self.node(url, geo_nats_credentials_file=credentials("ap", NKey("account")))
        self.stays_out(stranger, "geo-nats-credentials-file")


if __name__ == "__main__":
    unittest.main()
