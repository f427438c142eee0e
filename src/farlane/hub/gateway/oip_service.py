"""The Open Inference Protocol over gRPC: its service, answered by the gateway."""

from __future__ import annotations

import importlib.metadata
from collections.abc import AsyncIterator
from uuid import uuid4

from farlane.domain.inference import TensorsReply
from farlane.errors import FarlaneError, Internal
from farlane.hub.gateway.bodies import holding
from farlane.hub.gateway.gateway import Gateway
from farlane.hub.gateway.grpc_access import current_caller
from farlane.hub.gateway.grpc_answering import Context, answered, count_error
from farlane.hub.gateway.oip import inference_pb2 as pb
from farlane.hub.gateway.oip import inference_pb2_grpc
from farlane.hub.gateway.oip_json import EXTENSIONS
from farlane.hub.gateway.oip_messages import metadata_to_wire, reply_to_wire, request_from_wire
from farlane.hub.gateway.oip_routes import refuse_parameters
from farlane.hub.gateway.port import Caller, ModelState


class OipService(inference_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers `inference.GRPCInferenceService`.

    Args:
        gateway: asks the models.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        """Say that the server runs."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        """Say whether requests can be routed."""
        return pb.ServerReadyResponse(ready=not self.gateway.router.trouble())

    @answered
    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        """Say whether a model answers."""
        found = await self.gateway.router.describe(current_caller(), request.name, request.version or None)
        return pb.ModelReadyResponse(ready=found.state is ModelState.READY)

    @answered
    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        """Say what this server is."""
        version = importlib.metadata.version("farlane")
        return pb.ServerMetadataResponse(name="farlane", version=version, extensions=EXTENSIONS)

    @answered
    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        """Describe a model's arrays."""
        found = await self.gateway.router.describe(current_caller(), request.name, request.version or None)
        return metadata_to_wire(found)

    @answered
    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        """Run arrays through a model."""
        return await self._infer(current_caller(), request)

    async def ModelStreamInfer(
        self, requests: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Answer one request after the other, in their order; one that fails ends nothing."""
        caller = current_caller()
        async for request in requests:
            try:
                yield pb.ModelStreamInferResponse(infer_response=await self._infer(caller, request))
            except FarlaneError as error:
                count_error(self.gateway.metrics, error)
                yield pb.ModelStreamInferResponse(
                    error_message=error.message, infer_response=pb.ModelInferResponse(id=request.id)
                )

    @answered
    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: Context
    ) -> pb.RepositoryIndexResponse:
        """List models and their states."""
        entry = pb.RepositoryIndexResponse.ModelIndex
        found = await self.gateway.router.models(current_caller())
        return pb.RepositoryIndexResponse(
            models=[
                entry(name=one.name, version=one.version, state=one.state, reason=one.reason)
                for one in found
                if one.state is ModelState.READY or not request.ready
            ]
        )

    @answered
    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        """Have a model served again."""
        refuse_parameters(request.parameters)
        await self.gateway.change(current_caller(), request.model_name, load=True)
        return pb.RepositoryModelLoadResponse()

    @answered
    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        """Stop serving a model."""
        refuse_parameters(request.parameters)
        await self.gateway.change(current_caller(), request.model_name, load=False)
        return pb.RepositoryModelUnloadResponse()

    async def _infer(self, caller: Caller, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        size = request.ByteSize()
        with self.gateway.concurrency.slot(caller.organisation), holding(self.gateway.bodies, size):
            asked = request_from_wire(request)
            async with self.gateway.asking(
                caller, request.model_name, request.model_version or None, asked,
                request_id=uuid4().hex, request_bytes=size,
            ) as asking:  # fmt: skip
                reply = await asking.only()
                if not isinstance(reply, TensorsReply):
                    raise Internal("the model's answer has no tensors")
                answer = reply_to_wire(asking.model, request.id, reply)
                asking.reply_bytes = answer.ByteSize()
        return answer
