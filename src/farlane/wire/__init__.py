"""The wire: farlane's protobuf and gRPC, spoken nowhere else."""
