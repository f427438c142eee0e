"""The catalog: names of models, their numbered versions, aliases that move between them, and who moved them."""
