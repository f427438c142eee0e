"""How the small language model that farlane ships is made: text, architecture, training, export."""
