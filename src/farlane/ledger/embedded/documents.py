"""JSON-RPC documents: a request or a batch in, the answers out; whatever was sent is answered."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from farlane.errors import FarlaneError, RpcRefused
from farlane.ledger.embedded import methods
from farlane.ledger.embedded.chain import Chain
from farlane.ledger.embedded.refusals import INTERNAL, INVALID_PARAMS, INVALID_REQUEST, SERVER_ERROR

MAX_BATCH = 100

log = logging.getLogger(__name__)


def answer(chain: Chain, document: Any, *, testing: bool = False, raise_faults: bool = False) -> Any:
    """Return the answer to a document: None where nothing in it wants one.

    Args:
        chain: asked.
        document: parsed JSON.
        testing: also take the methods that move time.
        raise_faults: raise what is the file's fault, not the caller's, instead of answering with it.

    Raises:
        DiskFull: no room for a block; only with `raise_faults`, as the others.
        Corrupted: the file is damaged.
        Unavailable: its disk failed.
    """
    if not isinstance(document, list):
        return _one(chain, document, testing, raise_faults)
    if not document:
        return failure(None, INVALID_REQUEST, "empty batch")
    if len(document) > MAX_BATCH:
        return failure(None, INVALID_REQUEST, f"batch too large: {len(document)} requests, limit {MAX_BATCH}")
    answers = [_one(chain, each, testing, raise_faults) for each in document]
    return [each for each in answers if each is not None] or None


def failure(number: Any, code: object, message: str, data: object = None) -> dict[str, Any]:
    """Return an answer that is an error."""
    error = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": number, "error": error}


def _one(chain: Chain, request: Any, testing: bool, raise_faults: bool) -> dict[str, Any] | None:
    if not isinstance(request, Mapping):
        return failure(None, INVALID_REQUEST, "invalid request: expected an object")
    number, method, given = request.get("id"), request.get("method"), request.get("params")
    if number is not None and not isinstance(number, (str, int, float)):
        return failure(None, INVALID_REQUEST, "invalid request: the id is neither text nor number")
    if not isinstance(method, str):
        return failure(number, INVALID_REQUEST, "invalid request: no method")
    if given is not None and not isinstance(given, list):
        return failure(number, INVALID_PARAMS, "non-array args")
    try:
        result = methods.call(chain, method, given or [], testing)
    except RpcRefused as error:
        facts = error.facts
        return failure(number, facts["code"], str(facts["rpc_message"]), facts.get("data"))
    except FarlaneError as error:
        if raise_faults:
            raise
        log.error("%s failed: %s", method, error.message)
        return failure(number, SERVER_ERROR, error.message)
    except Exception:
        log.exception("%s failed; please report this", method)
        return failure(number, INTERNAL, "internal error")
    return {"jsonrpc": "2.0", "id": number, "result": result} if "id" in request else None
