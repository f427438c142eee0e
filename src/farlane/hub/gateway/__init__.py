"""The gateway: HTTP and gRPC for clients of served models, by the protocols that they speak already."""
