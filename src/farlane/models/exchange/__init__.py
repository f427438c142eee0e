"""Models as other hubs and programs lay them out: Hugging Face folders, OCI layouts with ModelPack, Ollama's store."""
