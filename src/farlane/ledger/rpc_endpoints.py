"""Endpoints: from what a setting or `--rpc` names, one URL or several that stand in for each other, to a transport."""

from __future__ import annotations

from collections.abc import Sequence

from farlane.errors import InvalidSetting
from farlane.ledger.rpc_fallback import FallbackTransport
from farlane.ledger.rpc_http import HttpTransport
from farlane.ledger.rpc_transport import Transport

Urls = str | Sequence[str]
"""One URL, several with commas between them, or a list of such texts; the preferred one first."""


def transport_of(urls: Urls, chain_id: int | None = None) -> Transport:
    """Return what carries documents to a chain's endpoints.

    Args:
        urls: where they are; a comma inside a URL is written %2C.
        chain_id: what all of them must be, where that is known. A single endpoint is not asked for it here: whoever
            uses it checks the deployment.

    Raises:
        InvalidSetting: none is named, one twice, or one is not an http or https URL.
    """
    texts = [urls] if isinstance(urls, str) else urls
    found = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    if not found:
        raise InvalidSetting("a chain needs an endpoint; expected at least one URL, such as http://host:port")
    if len(set(found)) < len(found):
        raise InvalidSetting(
            "the same endpoint is named twice; expected different ones that stand in for each other"
        )
    transports = [HttpTransport(url) for url in found]
    return transports[0] if len(transports) == 1 else FallbackTransport(transports, chain_id)
