"""Certificates for tests, made on the spot by openssl."""
import os
import subprocess


def openssl(*words, stdin=None):
    return subprocess.run(["openssl", *words], input=stdin, capture_output=True, check=True).stdout


class Authority:
    """Signs certificates for the loopback interface."""

    def __init__(self, directory, name):
        self._base = os.path.join(directory, name)
        self.cert = self._base + ".pem"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                "-nodes", "-subj", f"/CN={name}", "-days", "2", "-keyout", self._base + ".key",
                "-out", self.cert)

    def issue(self, name, addresses="IP:127.0.0.1"):
        base = f"{self._base}-{name}"
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-subj", f"/CN={name}", "-keyout", base + ".key", "-out", base + ".csr")
        with open(base + ".ext", "w") as file:
            file.write(f"subjectAltName={addresses}\n")
        openssl("x509", "-req", "-in", base + ".csr", "-CA", self.cert, "-CAkey",
                self._base + ".key", "-CAcreateserial", "-days", "2", "-extfile", base + ".ext",
                "-out", base + ".pem")
        return base + ".pem", base + ".key"
