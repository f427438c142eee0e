"""Serving: a model in a process of its own, behind one port, whatever its format.

runtime         the port, and which runtime a folder of files asks for
runtimes/       onnxruntime, llama.cpp, sentence encoders in numpy, Keras, transformers, vLLM
batching        pure: which waiting requests run together
host            one loaded model: admission, batches, streams, drain
frames          the bytes between a replica process and whoever asks it
replica         the process: `python -m farlane.models.serving.replica`
replica_client  starts a replica and asks it
"""
