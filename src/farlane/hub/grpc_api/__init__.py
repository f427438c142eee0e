"""The hub's gRPC services: messages in, events to the engine, replies when they are durable."""
