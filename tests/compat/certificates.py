"""Certificates for the tests of TLS, and how clients trust and show them."""

import ssl

import trustme


class Identity:
    """A certificate with its key in files."""

    def __init__(self, folder, authority, **more):
        folder.mkdir(parents=True, exist_ok=True)
        self.chain, self.key = folder / "chain.pem", folder / "key.pem"
        self.write(authority, **more)

    def write(self, authority, **more):
        """A new certificate and key, in the same files."""
        made = authority.issue_cert("localhost", "127.0.0.1", **more)
        self.chain.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        self.key.write_bytes(made.private_key_pem.bytes())
        return self

    @property
    def options(self):
        """Those of a daemon that shows it."""
        return ["-Z", "-o", f"ssl_chain_cert={self.chain},ssl_key={self.key}"]


def trusting(authority, shown=None, version=None):
    """How a client speaks that trusts this authority, and perhaps shows a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    if shown:
        context.load_cert_chain(shown.chain, shown.key)
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def new_authority(**more):
    return trustme.CA(**more)
