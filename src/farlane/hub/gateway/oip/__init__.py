"""The Open Inference Protocol's messages for gRPC, generated from inference.proto.

A process can know `inference.ModelInferRequest` once: do not import another client's modules of this protocol beside
these.
"""
