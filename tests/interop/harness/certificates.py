"""An authority and certificates of it, and their replacement under load.

As a program (`certificates.py DIRECTORY COUNT`) it makes them; it runs in a virtualenv, for the package `cryptography`.
"""

import datetime
import ipaddress
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

REPLACE_EVERY = 0.8
SEEN_WITHIN = 10
COUNT = 6


def make(directory, count):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.timezone.utc)

    def certificate(name, issuer, key, issuer_key, authority):
        named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder(
            issuer_name=issuer or named,
            subject_name=named,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - datetime.timedelta(hours=1),
            not_valid_after=now + datetime.timedelta(days=2),
        ).add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        subject = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(subject, critical=False)
        issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        builder = builder.add_extension(issued_by, critical=False)
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=authority, crl_sign=authority, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )
        builder = builder.add_extension(usage, critical=True)
        if not authority:
            names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            server = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH])
            builder = builder.add_extension(server, critical=False)
        return builder.sign(issuer_key, hashes.SHA256())

    def write(name, signed, key):
        (directory / f"{name}.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        (directory / f"{name}.key").write_bytes(pem)

    root_key = ec.generate_private_key(ec.SECP256R1())
    root = certificate("interop authority", None, root_key, root_key, True)
    write("ca", root, root_key)
    for number in range(count):
        key = ec.generate_private_key(ec.SECP256R1())
        write(f"leaf-{number}", certificate("localhost", root.subject, key, root_key, False), key)


class Certificates:
    """The authority of a run, and certificates to choose from."""

    def __init__(self, python, directory):
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        made = subprocess.run([python, __file__, directory, str(COUNT)], capture_output=True, text=True)
        if made.returncode != 0:
            raise RuntimeError(f"no certificates: {made.stderr[-500:]}")
        self.ca = directory / "ca.crt"

    def files(self, number):
        return self._directory / f"leaf-{number}.crt", self._directory / f"leaf-{number}.key"


class Served:
    """The pair of files that one dualgate is pointed to."""

    def __init__(self, certificates, directory):
        self._certificates = certificates
        self.cert, self.key = directory / "served.crt", directory / "served.key"
        self.put(0)

    def put(self, number):
        """Each file is replaced in one step; that the two do not fit for a moment is a reader's to stand."""
        for source, target in zip(self._certificates.files(number), (self.cert, self.key)):
            new = target.with_suffix(".new")
            shutil.copy(source, new)
            os.replace(new, target)

    def der(self, number):
        return ssl.PEM_cert_to_DER_cert(self._certificates.files(number)[0].read_text())

    def presented(self, port):
        """The certificate that a new connection gets."""
        context = ssl.create_default_context(cafile=self._certificates.ca)
        with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
            with context.wrap_socket(raw, server_hostname="localhost") as wrapped:
                return wrapped.getpeercert(binary_form=True)


class Rotor:
    """Replaces the certificate over and over while clients are at work; each must come into force."""

    def __init__(self, served, port):
        self._served, self._port = served, port
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.taken = 0
        self.errors = []

    def _run(self):
        number = 0
        while not self._stopped.wait(REPLACE_EVERY):
            number = (number + 1) % COUNT
            self._served.put(number)
            wanted, deadline = self._served.der(number), time.monotonic() + SEEN_WITHIN
            try:
                while self._served.presented(self._port) != wanted:
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"certificate {number} was not served within {SEEN_WITHIN} s")
                    time.sleep(0.05)
                self.taken += 1
            except (OSError, TimeoutError) as problem:
                self.errors.append(repr(problem))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._thread.join()


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
