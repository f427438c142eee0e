"""AdmissionService: the two calls that somebody without a token may make."""

from __future__ import annotations

from typing import Any

import grpc

from farlane.errors import FarlaneError, InvalidInput
from farlane.hub.admission import LASTS_S, Admission, Challenge
from farlane.ledger.accounts import parse_address
from farlane.wire.status import abort
from farlane.wire.v1 import admission_pb2, admission_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]
MAX_REQUEST_BYTES = 1024
"""Both requests are far smaller."""


class AdmissionService(admission_pb2_grpc.AdmissionServiceServicer):
    """Lets keys in."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def Challenge(
        self, request: admission_pb2.ChallengeRequest, context: Context
    ) -> admission_pb2.ChallengeReply:
        """Hand out what a key has to sign."""
        try:
            _check_size(request.ByteSize())
            found = self._admission.challenge(parse_address(request.key))
        except FarlaneError as error:
            await abort(context, error)
        return admission_pb2.ChallengeReply(
            nonce=found.nonce, expires=found.expires, network=self._admission.network
        )

    async def Admit(self, request: admission_pb2.AdmitRequest, context: Context) -> admission_pb2.AdmitReply:
        """Take the signature and hand out a credential."""
        try:
            _check_size(request.ByteSize())
            challenge = Challenge(request.nonce, request.expires)
            secret, identity = await self._admission.admit(
                parse_address(request.key), challenge, request.signature
            )
        except FarlaneError as error:
            await abort(context, error)
        return admission_pb2.AdmitReply(secret=secret, organisation=identity.organisation, lasts_s=LASTS_S)


def _check_size(size: int) -> None:
    if size > MAX_REQUEST_BYTES:
        raise InvalidInput(f"the request has {size} bytes; expected at most {MAX_REQUEST_BYTES}")
