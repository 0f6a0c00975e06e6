"""Signature and password encryption of the AlphaESS API.

Source: Web Monitoring API Specification V2.1, sections 9 (encryption), 10 (signature), 11 (MD5).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from Crypto.Cipher import AES
from Crypto.Hash import MD5, SHA256
from Crypto.Util.Padding import pad


def sign(params: Mapping[str, Any], secret: str) -> str:
    """Sign a request.

    The keys, with ``secretkey`` among them and ``sign`` left out, are sorted without regard to case (the vendor
    uses a .NET ``SortedList``, whose default order is that), and ``key=value`` is joined without separators.

    Args:
        params: All fields of the request; a field of None counts as empty text.
        secret: The API secret.

    Returns:
        The lower-case hexadecimal MD5 of the text.
    """
    fields = {key: value for key, value in params.items() if key.lower() != "sign"}
    fields["secretkey"] = secret
    text = "".join(f"{key}={'' if fields[key] is None else fields[key]}" for key in sorted(fields, key=str.lower))
    return MD5.new(text.encode()).hexdigest()


def encrypt_password(password: str, key_seed: str) -> str:
    """Encrypt a password for the Login call: AES-256-CBC with PKCS#7 padding.

    Args:
        password: The password.
        key_seed: What key (its SHA-256) and initialisation vector (its MD5) are made from: the user name. The
            document's listing leaves it undefined; one reading of it takes the API secret.

    Returns:
        The cipher text in Base64.
    """
    seed = key_seed.encode()
    cipher = AES.new(SHA256.new(seed).digest(), AES.MODE_CBC, iv=MD5.new(seed).digest())
    return base64.b64encode(cipher.encrypt(pad(password.encode(), AES.block_size))).decode()
