"""Certificates for real TLS servers and clients, by the openssl command."""

import ssl
import subprocess
from pathlib import Path


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.file = folder / "ca.pem"
        _openssl("req", "-x509", "-keyout", folder / "ca.key", "-out", self.file, "-subj", "/CN=a bank's own")

    def issue(
        self, name: str, *, address: str = "IP:127.0.0.1", days: int = 2, passphrase: str = ""
    ) -> tuple[Path, Path]:
        """Make a certificate and its key. `days` below 0: it has expired."""
        certificate, key, wanted = (self._folder / f"{name}.{end}" for end in ("pem", "key", "csr"))
        names = ("-subj", f"/CN={name}", "-addext", f"subjectAltName={address}")
        _openssl("req", "-new", "-keyout", key, "-out", wanted, *names)
        signed_by = ("-CA", self.file, "-CAkey", self._folder / "ca.key")
        _run(
            "x509",
            "-req",
            "-in",
            wanted,
            *signed_by,
            "-copy_extensions",
            "copy",
            "-days",
            days,
            "-out",
            certificate,
        )
        if passphrase:
            locked = self._folder / f"{name}.locked.key"
            _run("ec", "-in", key, "-aes128", "-passout", f"pass:{passphrase}", "-out", locked)
            key = locked
        return certificate, key

    def server(self, certificate: Path, key: Path, *, wants_ours: bool = False) -> ssl.SSLContext:
        """What a server needs; `wants_ours`: clients have to show a certificate of this authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.file))
        context.load_cert_chain(certificate, key)
        context.verify_mode = ssl.CERT_REQUIRED if wants_ours else ssl.CERT_NONE
        return context


def _openssl(*arguments: object) -> None:
    usual = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-batch")
    days = ("-days", 2) if "-x509" in arguments else ()
    _run(*arguments, *usual, *days)


def _run(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
